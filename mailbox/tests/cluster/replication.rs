//! One thing at a time: who holds a box after a write, a death, a return, a change of the set; who says what to whom.

use crate::{
    cluster::{Cluster, Command, NETWORK, Seen},
    faults::params,
    people::{People, mails},
};
use std::time::Duration;
use veilpost_mailbox::{
    engine::{COPIES_MAX, FromPeer, ITEMS_MAX},
    store::{BoxStore, Held},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, BoxTerms, ContentHash, SealedBox, StreamRoot},
    command::Answer,
    ids::{BoxId, District, NodeId},
    peer::{Copy, PeerItem, Refusal},
    time::Day,
};
use veilpost_pki::Params;

fn holds(cluster: &mut Cluster, id: &BoxId) -> Vec<bool> {
    let order = cluster.holders(id);
    order.into_iter().map(|node| matches!(cluster.disk(node).get(id), Ok(Some(Held::Box(_))))).collect()
}

fn settled(seed: u64, count: usize) -> Cluster {
    let mut cluster = Cluster::new(seed, count, params());
    pass(&mut cluster, 5);
    cluster
}

/// Seconds pass; what is seen of digests and answers is given.
pub(crate) fn pass(cluster: &mut Cluster, seconds: u64) -> Vec<Seen> {
    let until = cluster.now + Duration::from_secs(seconds);
    let mut all = Vec::new();
    while cluster.now < until {
        all.extend(cluster.run(until));
    }
    all
}

fn answer(seen: &[Seen], wanted: u64) -> Option<Answer> {
    seen.iter().find_map(|seen| match seen {
        Seen::Answer { number, answer, .. } if *number == wanted => Some(answer.clone()),
        _ => None,
    })
}

fn put(cluster: &mut Cluster, rank: usize, mail: usize) -> Option<Answer> {
    let mail = &mails(5_000)[mail];
    let to = cluster.holders(&mail.sealed.id)[rank];
    cluster.send(1, to, Command::Put(Box::new(mail.sealed.clone()), mail.content));
    let seen = pass(cluster, 4);
    answer(&seen, 1)
}

fn get(cluster: &mut Cluster, rank: usize, mail: usize) -> Option<Answer> {
    let id = mails(5_000)[mail].sealed.id;
    let to = cluster.holders(&id)[rank];
    cluster.send(2, to, Command::Get(id));
    let seen = pass(cluster, 4);
    answer(&seen, 2)
}

#[test]
fn stored_means_two_disks_and_two_signatures_and_the_tag_is_named_once_by_the_first_holder() {
    for rank in [0, 1, 4] {
        let mut cluster = settled(1, 5);
        let mail = &mails(1)[0];
        let holders = cluster.holders(&mail.sealed.id);
        cluster.send(1, holders[rank], Command::Put(Box::new(mail.sealed.clone()), mail.content));
        let seen = pass(&mut cluster, 20);
        let Some(Answer::Stored([first, second])) = answer(&seen, 1) else { panic!("not stored") };
        assert_eq!(cluster.number(&first.holder), holders[rank]);
        assert_ne!(first.holder, second.holder);
        let named = seen.iter().filter_map(|seen| match seen {
            Seen::Digest { from, digest } if digest.digest().tags.contains(&BoxTag::of(&mail.sealed.id)) => Some(*from),
            _ => None,
        });
        assert_eq!(named.collect::<Vec<_>>(), [holders[0]], "put at rank {rank}");
    }
}

#[test]
fn a_holder_that_is_down_is_stood_in_for_and_gets_its_box_when_it_is_back() {
    let mut cluster = settled(2, 5);
    let id = mails(1)[0].sealed.id;
    let second = cluster.holders(&id)[1];
    cluster.kill(second);
    pass(&mut cluster, 2);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    assert_eq!(holds(&mut cluster, &id), [true, false, true, false, false]);
    cluster.start(second);
    pass(&mut cluster, 30);
    assert_eq!(holds(&mut cluster, &id), [true, true, false, false, false], "handed back");
}

#[test]
fn a_hung_mailbox_is_taken_for_dead_by_its_silence() {
    let mut cluster = settled(3, 5);
    let id = mails(1)[0].sealed.id;
    let second = cluster.holders(&id)[1];
    cluster.nodes[second].hung = true;
    pass(&mut cluster, 3);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    cluster.nodes[second].hung = false;
    pass(&mut cluster, 30);
    assert_eq!(holds(&mut cluster, &id), [true, true, false, false, false]);
}

#[test]
fn one_disk_alone_is_pending_and_becomes_stored_when_there_are_two() {
    let mut cluster = settled(4, 2);
    cluster.kill(1);
    pass(&mut cluster, 2);
    let id = mails(1)[0].sealed.id;
    cluster.send(1, 0, Command::Put(Box::new(mails(1)[0].sealed.clone()), mails(1)[0].content));
    let seen = pass(&mut cluster, 4);
    assert_eq!(answer(&seen, 1), Some(Answer::Pending));
    let named = |seen: &[Seen]| {
        seen.iter().any(|seen| matches!(seen, Seen::Digest { digest, .. } if digest.digest().tags == [BoxTag::of(&id)]))
    };
    assert!(!named(&seen), "what is on one disk is not named");
    cluster.start(1);
    let seen = pass(&mut cluster, 10);
    assert!(named(&seen));
    cluster.send(1, 0, Command::Put(Box::new(mails(1)[0].sealed.clone()), mails(1)[0].content));
    let seen = pass(&mut cluster, 4);
    assert!(matches!(answer(&seen, 1), Some(Answer::Stored(_))));
}

#[test]
fn a_read_at_a_holder_that_lost_its_disk_is_answered_from_the_other_and_mends_it() {
    let mut cluster = settled(5, 5);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    let id = mails(1)[0].sealed.id;
    let first = cluster.holders(&id)[0];
    cluster.kill(first);
    cluster.nodes[first].disk = Some(Default::default());
    cluster.start(first);
    pass(&mut cluster, 1);
    assert!(matches!(get(&mut cluster, 0, 0), Some(Answer::Found(_))));
    pass(&mut cluster, 10);
    assert_eq!(holds(&mut cluster, &id), [true, true, false, false, false]);
}

#[test]
fn an_acknowledgement_at_one_holder_ends_the_box_at_both_and_a_late_copy_does_not_bring_it_back() {
    let mut cluster = settled(6, 5);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    let mail = &mails(1)[0];
    let holders = cluster.holders(&mail.sealed.id);
    cluster.send(3, holders[1], Command::Ack(mail.sealed.id, mail.ack.clone()));
    pass(&mut cluster, 4);
    assert_eq!(holds(&mut cluster, &mail.sealed.id), [false; 5]);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))), "a late copy is told that it arrived");
    assert_eq!(get(&mut cluster, 0, 0), Some(Answer::Gone));
    assert_eq!(get(&mut cluster, 1, 0), Some(Answer::Gone));
}

#[test]
fn an_acknowledgement_at_a_mailbox_that_does_not_hold_the_box_comes_to_those_that_do() {
    let mut cluster = settled(6, 5);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    let mail = &mails(1)[0];
    let strangers = cluster.holders(&mail.sealed.id);
    cluster.send(3, strangers[3], Command::Ack(mail.sealed.id, mails(2)[1].ack.clone()));
    pass(&mut cluster, 4);
    assert_eq!(holds(&mut cluster, &mail.sealed.id)[..2], [true, true], "another box's secret opens nothing");
    cluster.send(4, strangers[4], Command::Ack(mail.sealed.id, mail.ack.clone()));
    pass(&mut cluster, 4);
    assert_eq!(holds(&mut cluster, &mail.sealed.id), [false; 5]);
    let unread: Vec<_> = (0..5).map(|node| cluster.nodes[node].engine.as_ref().unwrap().counters().not_found).collect();
    assert_eq!(unread, [0; 5], "an acknowledgement is no read");
}

#[test]
fn a_mailbox_that_leaves_the_set_hands_over_what_it_holds() {
    let mut cluster = settled(7, 5);
    let mut people = People::new(&mut cluster, 200, Duration::from_secs(10));
    people.ack_one_in = 1_000;
    let until = cluster.now + Duration::from_secs(30);
    people.run(&mut cluster, until);
    assert!(people.which(|state| !state.stored).is_empty());
    cluster.placement.remove(2);
    cluster.publish();
    pass(&mut cluster, 60);
    let left = cluster.nodes[2].engine.as_ref().unwrap();
    assert_eq!(left.usage().boxes, 0, "nothing is left behind: {:?}", left.sweep_progress());
    for number in people.which(|state| !state.acked) {
        let id = people.id(number);
        assert_eq!(holds(&mut cluster, &id)[..2], [true, true], "box {number}");
    }
}

#[test]
fn a_contested_box_is_decided_by_the_first_of_the_set_alone() {
    let (one, other) = contested_pair();
    let mut cluster = settled(8, 5);
    let holders = cluster.holders(&one.0.id);
    cluster.cut(holders[0], holders[1], true);
    pass(&mut cluster, 2);
    // Whoever cannot ask the first decides nothing.
    cluster.send(1, holders[1], Command::Put(Box::new(one.0.clone()), one.1));
    let seen = pass(&mut cluster, 4);
    assert_eq!(answer(&seen, 1), Some(Answer::Pending));
    cluster.send(2, holders[0], Command::Put(Box::new(other.0.clone()), other.1));
    pass(&mut cluster, 4);
    cluster.cut(holders[0], holders[1], false);
    pass(&mut cluster, 10);
    cluster.send(3, holders[1], Command::Put(Box::new(one.0.clone()), one.1));
    cluster.send(4, holders[1], Command::Put(Box::new(other.0.clone()), other.1));
    let seen = pass(&mut cluster, 4);
    assert_eq!(answer(&seen, 3), Some(Answer::Conflict));
    assert!(matches!(answer(&seen, 4), Some(Answer::Stored(_))));
}

#[test]
fn a_contested_box_is_not_written_while_the_one_that_decides_is_away_and_is_still_read() {
    let (one, other) = contested_pair();
    let mut cluster = settled(9, 5);
    let holders = cluster.holders(&one.0.id);
    cluster.send(1, holders[1], Command::Put(Box::new(one.0.clone()), one.1));
    let seen = pass(&mut cluster, 4);
    assert!(matches!(answer(&seen, 1), Some(Answer::Stored(_))), "through the second holder");
    cluster.kill(holders[0]);
    pass(&mut cluster, 2);
    cluster.send(2, holders[1], Command::Put(Box::new(other.0.clone()), other.1));
    cluster.send(3, holders[1], Command::Get(one.0.id));
    let seen = pass(&mut cluster, 4);
    assert_eq!(answer(&seen, 2), Some(Answer::Conflict));
    assert_eq!(answer(&seen, 3), Some(Answer::Found(Box::new(one.0.clone()))));
}

#[test]
fn of_two_contents_of_a_solo_box_written_apart_one_wins_everywhere_and_the_others_writer_is_told() {
    let (one, other) = pair(BoxClass::Solo);
    let mut cluster = settled(10, 5);
    let holders = cluster.holders(&one.0.id);
    // Two sides: each with one holder and one that stands in.
    let (left, right) = ([holders[0], holders[2]], [holders[1], holders[3], holders[4]]);
    let cut = |cluster: &mut Cluster, is: bool| {
        for a in left {
            for b in right {
                cluster.cut(a, b, is);
            }
        }
    };
    cut(&mut cluster, true);
    pass(&mut cluster, 3);
    cluster.send(1, left[0], Command::Put(Box::new(one.0.clone()), one.1));
    cluster.send(2, right[0], Command::Put(Box::new(other.0.clone()), other.1));
    let seen = pass(&mut cluster, 5);
    assert!(matches!(answer(&seen, 1), Some(Answer::Stored(_))) && matches!(answer(&seen, 2), Some(Answer::Stored(_))));
    cut(&mut cluster, false);
    pass(&mut cluster, 60);
    let (winner, loser) = if one.1 < other.1 { (&one, &other) } else { (&other, &one) };
    for (rank, holder) in holders[..2].iter().copied().enumerate() {
        let Ok(Some(Held::Box(kept))) = cluster.disk(holder).get(&one.0.id) else { panic!("held") };
        assert!(kept.sealed == winner.0, "rank {rank}");
        cluster.send(5, holder, Command::Put(Box::new(loser.0.clone()), loser.1));
        let seen = pass(&mut cluster, 4);
        assert_eq!(answer(&seen, 5), Some(Answer::Conflict));
    }
    assert_eq!(holds(&mut cluster, &one.0.id), [true, true, false, false, false], "stand-ins gave up theirs");
}

type Sealed = (SealedBox, ContentHash);

fn contested_pair() -> (Sealed, Sealed) {
    pair(BoxClass::Contested)
}

/// Two contents under one id.
fn pair(class: BoxClass) -> (Sealed, Sealed) {
    let seal = |content: &[u8]| {
        let terms = BoxTerms { district: District(0), class, expiry: Day(20_010) };
        let sealed = StreamRoot::new([77; 32]).write_cap().seal_next(&NETWORK, terms, content).unwrap();
        let content = sealed.content_hash(&NETWORK);
        (sealed, content)
    };
    (seal(b"one"), seal(b"another"))
}

#[test]
fn frames_between_mailboxes_leave_at_the_same_times_whatever_is_written_and_read() {
    let times = |busy: bool| {
        let mut cluster = Cluster::new(11, 3, params());
        pass(&mut cluster, 5);
        cluster.watched = Some(Vec::new());
        if busy {
            for mail in 0..40 {
                let sealed = &mails(40)[mail];
                let to = cluster.holders(&sealed.sealed.id)[0];
                cluster.send(mail as u64, to, Command::Put(Box::new(sealed.sealed.clone()), sealed.content));
            }
        }
        pass(&mut cluster, 60);
        let mut gaps = Vec::new();
        for from in 0..3 {
            let mine: Vec<_> = cluster
                .watched
                .as_ref()
                .unwrap()
                .iter()
                .filter(|(_, one, to)| *one == from && *to == (from + 1) % 3)
                .map(|(at, ..)| *at)
                .collect();
            gaps.extend(mine.windows(2).map(|pair| pair[1].since(pair[0]).as_secs_f64()));
        }
        gaps
    };
    let (idle, busy) = (times(false), times(true));
    // Two-sample Kolmogorov-Smirnov at 0.1 %: 1.95 sqrt((n + m) / (n m)).
    let bound = 1.95 * ((idle.len() + busy.len()) as f64 / (idle.len() as f64 * busy.len() as f64)).sqrt();
    let distance = kolmogorov(&idle, &busy);
    assert!(distance < bound, "{distance} against {bound}");
    let mean = busy.iter().sum::<f64>() / busy.len() as f64;
    assert!((mean / 0.05 - 1.0).abs() < 0.1, "the clock's mean is the document's: {mean}");
}

fn kolmogorov(one: &[f64], other: &[f64]) -> f64 {
    let below =
        |sample: &[f64], x: f64| sample.iter().filter(|value| **value <= x).count() as f64 / sample.len() as f64;
    one.iter().chain(other).map(|x| (below(one, *x) - below(other, *x)).abs()).fold(0.0, f64::max)
}

#[test]
fn a_pass_over_all_boxes_is_cheap_when_nothing_is_missing() {
    let mut cluster = settled(12, 5);
    let mut people = People::new(&mut cluster, 300, Duration::from_secs(10));
    people.ack_one_in = 1_000;
    let until = cluster.now + Duration::from_secs(40);
    people.run(&mut cluster, until);
    let before = cluster.copies;
    cluster.publish();
    for number in 0..5 {
        cluster.kill(number);
        cluster.start(number);
        pass(&mut cluster, 10);
    }
    pass(&mut cluster, 200);
    assert_eq!(cluster.copies, before, "no box travels again");
}

#[test]
fn a_false_gone_and_a_false_conflict_of_another_mailbox_change_nothing() {
    let mut cluster = settled(13, 5);
    let mail = &mails(1)[0];
    let id = mail.sealed.id;
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    let holders = cluster.holders(&id);
    let liar = cluster.nodes[holders[1]].id;
    let items = vec![
        (liar, FromPeer::Gone { id, secret: [9; 32] }),
        (liar, FromPeer::Refuse { id, content: mail.content, why: Refusal::Conflict }),
    ];
    let now = cluster.now;
    let first = cluster.nodes[holders[0]].engine.as_mut().unwrap();
    first.handle(now, Vec::new(), items);
    assert_eq!(first.counters().bad_peer_items, 1);
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    assert!(matches!(get(&mut cluster, 0, 0), Some(Answer::Found(_))));
}

#[test]
fn what_does_not_verify_is_counted_and_held_nowhere() {
    let mail = &mails(1)[0];
    let from = NodeId([4; 32]);
    let copy = |sealed: SealedBox, held| {
        let copy = Copy { sealed: Box::new(sealed), held, store: 1, announced: false };
        FromPeer::check(PeerItem::Copy(copy), &NETWORK, from)
    };
    let mut spoilt = mail.sealed.clone();
    spoilt.ciphertext[0] ^= 1;
    assert!(matches!(copy(spoilt, None), FromPeer::Bad));
    assert!(matches!(copy(mail.sealed.clone(), Some([0; 64])), FromPeer::Bad), "another's word that is no word");
    assert!(matches!(copy(mail.sealed.clone(), None), FromPeer::Copy { .. }));
    let mut cluster = settled(14, 2);
    let now = cluster.now;
    // Of nobody that the document lists.
    let engine = cluster.nodes[0].engine.as_mut().unwrap();
    engine.handle(now, Vec::new(), vec![(from, copy(mail.sealed.clone(), None))]);
    assert_eq!(engine.usage().boxes, 0);
}

#[test]
fn queues_for_a_mailbox_that_takes_nothing_stay_bounded() {
    let mut cluster = settled(15, 2);
    let now = cluster.now;
    let mail = &mails(1)[0];
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
    let other = cluster.nodes[1].id;
    let engine = cluster.nodes[0].engine.as_mut().unwrap();
    let asks = (0..COPIES_MAX as u64 + 100).map(|_| (other, FromPeer::Ask { id: mail.sealed.id }));
    engine.handle(now, Vec::new(), asks.collect());
    assert_eq!(engine.peer_items_dropped(), 100, "copies beyond the bound are dropped and counted");
    let words = (0..ITEMS_MAX as u64 + 100).map(|n| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        (
            other,
            FromPeer::Copy {
                sealed: Box::new(late(&mail.sealed, id)),
                content: mail.content,
                theirs: None,
                announced: false,
            },
        )
    });
    engine.handle(now, Vec::new(), words.collect());
    assert!(engine.peer_items_dropped() >= 200, "and so are answers");
}

/// A box whose expiry breaks a rule: each is answered with a refusal.
fn late(sealed: &SealedBox, id: [u8; 32]) -> SealedBox {
    SealedBox { id: BoxId(id), expiry: Day(1), ..sealed.clone() }
}

/// T0 is above the 99.9th percentile of a write to two mailboxes as long as the links between them are used to a third.
#[test]
fn at_a_third_of_a_links_load_hardly_a_write_misses_its_time() {
    let params = Params { hurry: 24, ..Params::standard() };
    let mut cluster = Cluster::new(16, 2, params);
    pass(&mut cluster, 30);
    // Each of two mailboxes sends the other 3.3 boxes a second, of ten that the clock lets through.
    let count = 4_000;
    let mut people = People::new(&mut cluster, count, Duration::from_secs(count as u64 * 10 / 66));
    people.ack_one_in = 1_000_000;
    let until = cluster.now + Duration::from_secs(700);
    people.run(&mut cluster, until);
    assert!(people.which(|state| !state.stored).is_empty());
    let share = people.pending as f64 / count as f64;
    println!("writes that were not stored within T0: {} of {count}", people.pending);
    assert!(share < 0.002, "{share}");
}

#[test]
fn a_link_that_is_up_before_the_document_that_lists_its_mailbox_counts_from_then_on() {
    let mut cluster = Cluster::new(17, 2, params());
    cluster.nodes[1].listed = false;
    cluster.publish();
    pass(&mut cluster, 5);
    assert_eq!(cluster.nodes[0].engine.as_ref().unwrap().peers(), (0, 0));
    // Dialed anew by both while neither knows the other yet.
    cluster.cut(0, 1, true);
    pass(&mut cluster, 1);
    cluster.cut(0, 1, false);
    pass(&mut cluster, 2);
    cluster.nodes[1].listed = true;
    cluster.publish();
    pass(&mut cluster, 3);
    assert_eq!(cluster.nodes[0].engine.as_ref().unwrap().peers(), (1, 1));
    assert!(matches!(put(&mut cluster, 0, 0), Some(Answer::Stored(_))));
}
