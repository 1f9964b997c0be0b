//! Digests: one each tick, chained, naming what is on disk and nothing else, whatever fails in between.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{DOCUMENT, EPOCH, Faulty, NETWORK, Rig, START, TODAY, is_stored, mail, secret, surb, terms};
use std::time::Duration;
use veilpost_mailbox::{
    engine::{Arrived, Back, Limits, Mailbox, Request},
    memory::MemoryStore,
    store::{BoxStore, Change, Held, Series, Tombstone, Waiting},
};
use veilpost_packet::{
    boxes::{BoxTag, ContentHash},
    command::{Answer, Reply},
    digest::{DigestHash, SignedDigest},
    geometry::DIGEST_MAX_TAGS,
    ids::BoxId,
    primitives::SigningSecret,
    random::seeded,
    time::{Day, Tick},
};
use veilpost_pki::Params;

fn rig() -> Rig<Faulty<MemoryStore>> {
    Rig::new(Faulty::default())
}

#[test]
fn every_tick_has_one_digest_also_when_there_is_nothing_to_say() {
    let mut rig = rig();
    let (mut previous, mut tick) = (DigestHash::default(), Tick::at(START, rig.params.tick));
    for _ in 0..5 {
        let signed = rig.tick().unwrap().unwrap();
        let digest = signed.digest();
        tick = tick.next();
        assert_eq!((digest.tick, digest.previous), (tick, previous));
        assert_eq!((digest.network, digest.document, digest.mailbox), (NETWORK, DOCUMENT, secret().node_id()));
        assert!(digest.tags.is_empty());
        let now = rig.now + rig.params.tick - Duration::from_nanos(1);
        assert_eq!(rig.engine().poll_digest(now).unwrap(), None, "once a tick");
        previous = signed.hash();
    }
}

#[test]
fn a_tick_that_was_slept_through_has_no_digest_and_the_chain_goes_on() {
    let mut rig = rig();
    let before = rig.tick().unwrap().unwrap();
    rig.now = rig.now + rig.params.tick * 10;
    let after = rig.tick().unwrap().unwrap();
    assert_eq!(after.digest().previous, before.hash());
    assert_eq!(after.digest().tick.0, before.digest().tick.0 + 11);
    assert_eq!(rig.engine().digests(Tick(0), 100).unwrap().len(), 2);
}

#[test]
fn tags_are_sorted_and_of_the_boxes_since_the_last_digest() {
    let mut rig = rig();
    let mails: Vec<_> = (0..10).map(mail).collect();
    mails.iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    let mut expected: Vec<_> = mails.iter().map(common::Mail::tag).collect();
    expected.sort_unstable();
    assert_eq!(rig.tags(), expected);
    assert!(rig.tags().is_empty());
}

#[test]
fn a_failing_disk_never_yields_stored_nor_a_tag() {
    let mut rig = rig();
    let (early, late) = (mail(1), mail(2));
    rig.put(&early.sealed);
    rig.engine().store_mut().apply_fails = true;
    assert_eq!(rig.put(&late.sealed), Answer::Pending);
    assert_eq!(rig.get(late.sealed.id), Answer::Absent);
    assert_eq!(rig.ack(&early, true), Answer::Pending, "nothing is gone either");
    let renewed = common::mail_of(1, b"content", veilpost_packet::boxes::BoxClass::Solo, TODAY + 14).sealed;
    assert!(is_stored(&rig.put(&renewed), &renewed), "what was on disk before still is");
    let counters = rig.engine().counters();
    assert_eq!((counters.stored, counters.acknowledged, counters.store_failures), (1, 0, 2));
    rig.engine().store_mut().apply_fails = false;
    assert_eq!(rig.tags(), [early.tag()]);
    assert!(is_stored(&rig.put(&late.sealed), &late.sealed));
    assert_eq!(rig.tags(), [late.tag()]);
}

#[test]
fn a_full_disk_answers_full() {
    let mut rig = Rig::new(MemoryStore::default());
    rig.engine().store_mut().disk_full = true;
    assert_eq!(rig.put(&mail(1).sealed), Answer::Full);
    assert!(rig.tick().is_err());
    rig.engine().store_mut().disk_full = false;
    assert!(is_stored(&rig.put(&mail(1).sealed), &mail(1).sealed));
}

#[test]
fn a_box_of_a_failed_batch_stands_in_nobodys_way() {
    use veilpost_packet::{boxes::BoxClass, command::Command};
    let mut rig = rig();
    let [first, second] =
        [b"first!", b"second"].map(|content| common::mail_of(1, content, BoxClass::Solo, TODAY + 1).sealed);
    rig.engine().store_mut().apply_fails = true;
    let answers = rig.ask_all(vec![Command::put(first), Command::put(second.clone())]);
    assert_eq!(answers, [Answer::Pending, Answer::Pending]);
    rig.engine().store_mut().apply_fails = false;
    assert!(is_stored(&rig.put(&second), &second));
}

#[test]
fn a_disk_that_cannot_be_read_answers_pending() {
    let mut rig = rig();
    rig.put(&mail(1).sealed);
    rig.engine().store_mut().reads_fail = true;
    assert_eq!(rig.put(&mail(1).sealed), Answer::Pending);
    assert_eq!(rig.get(mail(1).sealed.id), Answer::Pending);
    assert_eq!(rig.ack(&mail(1), true), Answer::Pending);
}

#[test]
fn a_digest_that_could_not_be_kept_is_made_up_for_by_the_next() {
    let mut rig = rig();
    let before = rig.tick().unwrap().unwrap();
    rig.put(&mail(1).sealed);
    rig.engine().store_mut().apply_fails = true;
    assert!(rig.tick().is_err());
    rig.engine().store_mut().apply_fails = false;
    let after = rig.tick().unwrap().unwrap();
    assert_eq!(after.digest().tags, [mail(1).tag()]);
    assert_eq!(after.digest().previous, before.hash());
}

#[test]
fn a_digest_is_a_link_of_the_chain_also_when_old_ones_cannot_be_dropped() {
    let mut rig = rig();
    rig.engine().store_mut().drop_fails = true;
    let first = rig.tick().unwrap().expect("it is durable, so it is published");
    let second = rig.tick().unwrap().unwrap();
    assert_eq!(second.digest().previous, first.hash());
    assert_eq!(rig.engine().counters().store_failures, 2);
}

#[test]
fn nothing_is_lost_between_store_and_digest() {
    let mut rig = rig();
    let before = rig.tick().unwrap().unwrap();
    rig.put(&mail(1).sealed);
    rig.restart();
    rig.put(&mail(2).sealed);
    rig.restart();
    let after = rig.tick().unwrap().unwrap();
    let mut expected = vec![mail(1).tag(), mail(2).tag()];
    expected.sort_unstable();
    assert_eq!(after.digest().tags, expected);
    assert_eq!(after.digest().previous, before.hash(), "the chain goes on over a restart");
    rig.restart();
    assert!(rig.tags().is_empty(), "and nothing is said twice");
}

#[test]
fn a_restart_within_a_tick_or_a_clock_that_went_back_repeats_no_tick() {
    let mut rig = rig();
    let first = rig.tick().unwrap().unwrap();
    rig.now = START - Duration::from_secs(60);
    rig.restart();
    let mut published = Vec::new();
    for _ in 0..20 {
        published.extend(rig.tick().unwrap().map(|signed| signed.digest().tick));
    }
    assert!(published.iter().all(|tick| *tick > first.digest().tick));
    assert!(published.is_sorted_by(|a, b| a < b) && !published.is_empty());
}

#[test]
fn what_does_not_fit_a_digest_waits_for_the_next() {
    let mut rig = rig();
    let change = |n: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let until = Day(TODAY + 3);
        let gone = Tombstone { content: ContentHash([0; 32]), until, secret: [0; 32], others: Vec::new() };
        let announce = Waiting { tag: BoxTag::of(&BoxId(id)), from: Tick(0), bucket: until };
        Change::Hold { id: BoxId(id), held: Held::Tombstone(Box::new(gone)), announce: Some(announce) }
    };
    let changes: Vec<_> = (0..DIGEST_MAX_TAGS as u64 + 5).map(change).collect();
    rig.engine().store_mut().apply(&changes).unwrap();
    rig.restart();
    let first = rig.tick().unwrap().unwrap();
    assert_eq!(first.digest().tags.len(), DIGEST_MAX_TAGS);
    assert!(SignedDigest::verify(first.as_bytes()).is_ok(), "a digest at the bound is one that readers take");
    assert_eq!(rig.tags().len(), 5);
}

#[test]
fn digests_are_kept_for_the_documents_history_and_then_dropped() {
    let mut rig = rig();
    rig.params.digest_history = rig.params.tick * 8;
    rig.restart();
    let all: Vec<_> = (0..20).map(|_| rig.tick().unwrap().unwrap()).collect();
    let kept = rig.engine().digests(Tick(0), 100).unwrap();
    let expected: Vec<_> = all[all.len() - 9..].iter().map(|signed| signed.as_bytes().to_vec()).collect();
    assert_eq!(kept, expected);
    let from = all[15].digest().tick;
    assert_eq!(rig.engine().digests(from, 2).unwrap(), [all[15].as_bytes().to_vec(), all[16].as_bytes().to_vec()]);
}

#[test]
fn replies_carry_the_newest_digests_number_and_the_documents_hash() {
    let mut rig = rig();
    let tick = rig.tick().unwrap().unwrap().digest().tick;
    let now = rig.now;
    rig.engine().handle_commands(
        now,
        vec![Arrived { at: now, epoch: EPOCH, document: DOCUMENT, back: Back::Surb(surb(0)), request: Request::Loop }],
    );
    let (_, _, bytes) = rig.engine().poll_reply(now + Duration::from_secs(60)).unwrap();
    let reply = Reply::decode(&bytes).unwrap();
    assert_eq!((reply.newest_digest, reply.document), (tick, DOCUMENT));
}

fn start(secret: SigningSecret, store: MemoryStore) -> veilpost_mailbox::store::Result<Mailbox<MemoryStore>> {
    let terms = terms(&Params::standard());
    Mailbox::new(
        START,
        secret,
        terms,
        Limits { quota_bytes: 1 << 30, bucket_bytes: u64::MAX, free_disk_floor: 0 },
        store,
        seeded([3; 32]),
    )
}

#[test]
fn a_store_of_another_mailbox_begins_a_chain_of_its_own_and_a_damaged_one_is_refused() {
    let mut rig = Rig::new(MemoryStore::default());
    rig.tick().unwrap().unwrap();
    let mut other = start(SigningSecret::from_seed(&[8; 32]), rig.engine.take().unwrap().into_store()).unwrap();
    let signed = other.poll_digest(START + Duration::from_secs(8)).unwrap().unwrap();
    assert_eq!(signed.digest().previous, DigestHash::default());
    let mut store = other.into_store();
    let damaged = Change::Record { series: Series::Digest, number: u32::MAX, bytes: vec![1; 200] };
    store.apply(&[damaged]).unwrap();
    assert!(start(secret(), store).is_err());
}
