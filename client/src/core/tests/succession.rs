//! Streams of messages that follow one another, and messages that wait for receipts.

use super::{world::World, *};
use crate::{
    content::{Body, Message, StreamSeed, Uuid},
    core::{
        succession::{BOXES, DAYS, STREAMS_MAX},
        work::UNRECEIPTED_MAX,
    },
    store::{
        messages::{MessageId, State},
        streams::Stream,
        successors,
    },
};

/// Streams of messages of the one contact that a person has.
fn all(core: &Core, kind: StreamKind) -> Vec<Stream> {
    streams::of_kinds(core.store.connection(), &[kind]).unwrap()
}

fn written(core: &Core) -> Vec<Stream> {
    all(core, StreamKind::MessagesOut)
}

fn index(core: &Core, stream: StreamId) -> u64 {
    streams::write_cap(core.store.connection(), stream).unwrap().index()
}

/// As if Alice had written so many boxes before, and Bob had read them.
fn skip_to(world: &mut World, next: u64) {
    let out = written(&world.people[0])[0].id;
    let mut cap = streams::write_cap(world.people[0].store.connection(), out).unwrap();
    cap.skip_to(next);
    streams::set_write_cap(world.people[0].store.connection(), out, &cap).unwrap();
    let read = all(&world.people[1], StreamKind::MessagesIn)[0].id;
    let mut cap = streams::read_cap(world.people[1].store.connection(), read).unwrap();
    while cap.index() < next {
        cap.advance();
    }
    streams::set_read_cap(world.people[1].store.connection(), read, &cap).unwrap();
    world.restart(1);
}

fn unreceipted(core: &Core) -> u64 {
    successors::unreceipted(core.store.connection(), contact_of(core)).unwrap()
}

fn contact_of(core: &Core) -> ContactId {
    contacts::all(core.store.connection()).unwrap()[0].id
}

#[test]
fn the_thousandth_box_names_the_next_stream_and_the_old_one_goes_when_it_is_read() {
    let mut world = World::befriended(2, 2);
    skip_to(&mut world, BOXES - 4);
    let ids: Vec<_> = (0..8).map(|number| world.write(0, "Bob", &format!("{number}"))).collect();
    let streams = written(&world.people[0]);
    let [old, new] = streams[..] else { panic!("{streams:?}") };
    assert_eq!((old.boxes, old.number, old.base), (Some(BOXES), 0, 0), "its last box is the thousandth");
    assert_eq!((new.boxes, new.number, new.base), (None, 1, BOXES));
    assert_eq!(index(&world.people[0], new.id), 5, "three went into the old one");
    world.steps(200);
    assert_eq!(world.read(1)[1..], (0..8).map(|number| format!("{number}")).collect::<Vec<_>>());
    assert!(ids.iter().all(|id| world.state(0, *id) == State::Delivered));
    assert!(
        successors::of_contact(world.people[0].store.connection(), contact_of(&world.people[0])).unwrap().is_none()
    );
    // The reader has forgotten the old one's secret; the writer does when the receipts in it have expired.
    let [read] = all(&world.people[1], StreamKind::MessagesIn)[..] else { panic!("the old stream is still read") };
    assert_eq!((read.number, read.base), (1, BOXES));
    (0..20).for_each(|_| world.day());
    let [last] = written(&world.people[0])[..] else { panic!("the old stream is still there") };
    assert_eq!(last.id, new.id);
    world.write(1, "Alice", "and back");
    world.steps(100);
    assert_eq!(world.read(0).last().map(String::as_str), Some("and back"));
}

#[test]
fn after_thirty_days_a_stream_is_replaced_whatever_was_written() {
    let mut world = World::befriended(2, 2);
    for _ in 0..DAYS - 1 {
        world.day();
    }
    assert_eq!(written(&world.people[0])[0].number, 0);
    (0..3).for_each(|_| world.day());
    for person in 0..2 {
        assert_eq!(written(&world.people[person]).last().unwrap().number, 1);
        assert_eq!(all(&world.people[person], StreamKind::MessagesIn).last().unwrap().number, 1);
    }
    world.write(0, "Bob", "in the new one");
    world.steps(100);
    assert_eq!(world.read(1).last().map(String::as_str), Some("in the new one"));
}

#[test]
fn a_hole_in_the_old_stream_holds_back_what_comes_in_the_new_one() {
    let mut world = World::befriended(2, 2);
    world.online = vec![false; 2];
    let now = world.now;
    let take = |core: &mut Core| -> Vec<Outgoing> {
        let ids: Vec<_> =
            core.outbox.values().filter(|out| out.kind == StreamKind::MessagesOut).map(|out| out.id).collect();
        ids.iter().filter_map(|id| core.outbox.remove(id)).collect()
    };
    let bring = |core: &mut Core, out: &Outgoing| {
        core.handle_hits(now, vec![BoxTag::of(&out.sealed.id)], None).unwrap();
        let Some(key) = core.fetches.values().find(|fetch| fetch.id == out.sealed.id).map(|fetch| fetch.key) else {
            panic!("a box that nobody looks for")
        };
        let answer = veilpost_packet::command::Answer::Found(Box::new(out.sealed.clone()));
        core.handle_get_answer(now, key, NodeId([1; 32]), answer).unwrap();
    };
    take(&mut world.people[0]);
    world.write(0, "Bob", "late");
    let late = take(&mut world.people[0]).pop().unwrap();
    let contact = contact_of(&world.people[0]);
    let old = written(&world.people[0])[0];
    world.people[0].transaction(now, |work| work.begin_successor(contact, &old)).unwrap();
    for turn in 0..15 {
        world.write(0, "Bob", &format!("turn {turn:02}"));
        take(&mut world.people[0]).iter().for_each(|out| bring(&mut world.people[1], out));
        world.write(1, "Alice", "go on");
        take(&mut world.people[1]).iter().for_each(|out| bring(&mut world.people[0], out));
    }
    assert_eq!(all(&world.people[1], StreamKind::MessagesIn).len(), 2);
    let before = world.read(1).len() - 1;
    assert!((1..15).contains(&before), "{before} of 15 came before the hole was filled");
    bring(&mut world.people[1], &late);
    world.people[1].transaction(now, |work| work.keep_streams()).unwrap();
    let mut came = world.read(1);
    came.sort();
    let mut expected: Vec<_> = (0..15).map(|turn| format!("turn {turn:02}")).collect();
    expected.splice(0..0, ["hello".to_owned(), "late".to_owned()]);
    assert_eq!(came, expected);
    assert_eq!(all(&world.people[1], StreamKind::MessagesIn).len(), 1, "what is read is forgotten");
}

#[test]
fn a_reader_who_was_away_when_the_stream_was_replaced_learns_of_it_from_a_beacon() {
    let mut world = World::befriended(2, 3);
    world.online[1] = false;
    let mut written_ids = Vec::new();
    for day in 0..37 {
        written_ids.push(world.write(0, "Bob", &format!("day {day:02}")));
        world.day();
    }
    let streams = written(&world.people[0]);
    assert_eq!(streams.iter().map(|stream| stream.number).collect::<Vec<_>>(), [0, 1]);
    world.online[1] = true;
    // Boxes of the new stream are asked for with the beacon after the one that names it, if something had to wait.
    for _ in 0..3 {
        world.steps(500);
        world.pass(world.document.params.day * 9 / 10);
    }
    world.steps(100);
    let mut expected: Vec<_> = (0..37).map(|day| format!("day {day:02}")).collect();
    expected.push("hello".into());
    let mut came = world.read(1);
    came.sort();
    assert_eq!(came, expected);
    assert!(written_ids.iter().all(|id| world.state(0, *id) == State::Delivered));
    let missed = world.people[1].fetches.values().filter(|fetch| {
        let stream = streams::by_id(world.people[1].store.connection(), fetch.key.stream).unwrap();
        stream.kind == StreamKind::MessagesIn && fetch.retry.asked > 3
    });
    assert_eq!(missed.count(), 0, "it asks for what is there");
}

#[test]
fn a_reader_who_stays_away_is_told_of_one_successor_and_never_of_two() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    (0..2 * DAYS + 5).for_each(|_| world.day());
    assert_eq!(written(&world.people[0]).last().unwrap().number, 1);
    let contact = contact_of(&world.people[0]);
    let beacon = world.people[0].transaction(world.now, |work| work.beacon_content(contact)).unwrap();
    assert!(crate::content::beacon::Beacon::decode(&beacon).unwrap().successor.is_some());
}

#[test]
fn a_writer_has_four_streams_at_most_while_something_in_the_oldest_is_not_receipted() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    let (now, contact) = (world.now, contact_of(&world.people[0]));
    world.write(0, "Bob", "nobody reads this");
    for _ in 0..2 * STREAMS_MAX {
        let newest = *written(&world.people[0]).last().unwrap();
        world.people[0]
            .transaction(now, |work| {
                work.begin_successor(contact, &newest)?;
                work.successor_known(contact)
            })
            .unwrap();
    }
    let numbers: Vec<_> = written(&world.people[0]).iter().map(|stream| stream.number).collect();
    assert_eq!(numbers, (0..STREAMS_MAX).collect::<Vec<_>>());
}

#[test]
fn a_contact_that_names_stream_after_stream_is_read_in_four_at_most() {
    let mut world = World::befriended(2, 2);
    let (now, contact) = (world.now, contact_of(&world.people[1]));
    for number in 0..20u8 {
        let newest = *all(&world.people[1], StreamKind::MessagesIn).last().unwrap();
        let seed = StreamSeed::new([number; 32]);
        let next = |work: &mut crate::core::work::Work<'_>| {
            work.follow_successor(contact, newest.id, 7, Uuid([number; 16]), &seed)?;
            // A stream has one successor.
            work.follow_successor(contact, newest.id, 9, Uuid([number; 16]), &seed)
        };
        world.people[1].transaction(now, next).unwrap();
        world.people[1].transaction(now, |work| work.keep_streams()).unwrap();
        let kept = all(&world.people[1], StreamKind::MessagesIn);
        assert_eq!(kept.last().unwrap().number, u32::from(number) + 1);
        assert!(kept.len() <= STREAMS_MAX as usize, "{kept:?}");
        let known: std::collections::BTreeSet<_> = kept.iter().map(|stream| stream.id).collect();
        let looked_for = world.people[1].expected.values().flatten().filter(|key| {
            streams::by_id(world.people[1].store.connection(), key.stream)
                .map_or(true, |row| row.kind == StreamKind::MessagesIn)
        });
        assert!(looked_for.clone().all(|key| known.contains(&key.stream)), "nothing of a dropped stream is kept");
    }
}

#[test]
fn a_message_beyond_256_unreceipted_boxes_waits_and_nothing_is_lost_or_out_of_order() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    let before = index(&world.people[0], written(&world.people[0])[0].id);
    let ids: Vec<_> = (0..300).map(|number| world.write(0, "Bob", &format!("{number:03}"))).collect();
    let waits = |world: &World, id: MessageId| successors::waits(world.people[0].store.connection(), id).unwrap();
    assert_eq!(unreceipted(&world.people[0]), UNRECEIPTED_MAX);
    assert_eq!(index(&world.people[0], written(&world.people[0])[0].id) - before, UNRECEIPTED_MAX);
    assert!(!waits(&world, ids[255]) && waits(&world, ids[256]), "the 257th waits");
    world.steps(300);
    world.restart(0);
    assert!(ids[..256].iter().all(|id| world.state(0, *id) == State::Stored));
    assert!(ids[256..].iter().all(|id| world.state(0, *id) == State::Queued));
    assert!(world.warnings(0).iter().any(|told| told.starts_with("44 of your messages wait until Bob")));
    // What has no row in the history leaves all the same.
    let (now, contact) = (world.now, contact_of(&world.people[0]));
    let newest = written(&world.people[0])[0];
    world.people[0]
        .transaction(now, |work| {
            work.owe_receipt(contact, Uuid([1; 16]))?;
            work.begin_successor(contact, &newest)
        })
        .unwrap();
    world.pass(Duration::from_secs(3_600));
    let receipts = |world: &World| -> i64 {
        world.people[0].store.connection().query_row("SELECT count(*) FROM receipts", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(receipts(&world), 1);
    world.steps(5);
    assert_eq!((receipts(&world), written(&world.people[0]).len()), (0, 2));
    world.online[1] = true;
    for _ in 0..30 {
        world.steps(50);
        assert!(unreceipted(&world.people[0]) <= UNRECEIPTED_MAX);
        let first = ids.iter().position(|id| waits(&world, *id)).unwrap_or(ids.len());
        assert!(ids[first..].iter().all(|id| waits(&world, *id)), "none goes before one that was written earlier");
    }
    let expected: Vec<_> = (0..300).map(|number| format!("{number:03}")).collect();
    let mut came = world.read(1)[1..].to_vec();
    came.sort();
    assert_eq!(came, expected);
    assert!(ids.iter().all(|id| world.state(0, *id) == State::Delivered));
    assert!(!world.warnings(0).iter().any(|told| told.contains("wait until")));
}

#[test]
fn a_file_whose_manifest_waits_is_sent_after_it() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    for number in 0..256 {
        world.write(0, "Bob", &format!("{number}"));
    }
    let now = world.now;
    let id = world.people[0].send_file(now, "Bob", "picture.png", "image/png", &[7; 10_000]).unwrap();
    world.steps(330);
    assert_eq!(
        index(&world.people[0], all(&world.people[0], StreamKind::FileOut)[0].id),
        0,
        "none of its boxes leaves"
    );
    world.online[1] = true;
    world.steps(1_200);
    assert_eq!(world.state(0, id), State::Delivered);
    let row = messages::by_id(world.people[0].store.connection(), id).unwrap();
    assert_eq!(row.message.body, None, "the file's secret is gone");
}

#[test]
fn no_message_takes_more_boxes_than_it_is_counted_as() {
    let mut world = World::new(2, 2);
    let link = invited(&mut world.people[0], NOW);
    world.steps(10);
    let now = world.now;
    world.people[1].accept(now, &link, Some("Alice"), 7).unwrap();
    world.steps(4);
    // Nobody has answered Bob: each of his messages carries the key agreement.
    let contact = contact_of(&world.people[1]);
    for length in [1, 300, 320, 340, 3_300, 40_000, 65_536] {
        let text = "x".repeat(length);
        let message = Message { uuid: Uuid([1; 16]), sent_at: now, body: Body::Text(text) };
        let plain = message.encode().unwrap();
        let counted = crate::core::work::boxes_at_most(plain.len());
        let seal =
            |work: &mut crate::core::work::Work<'_>| Ok(signal::encrypt(work.tx, contact, &plain, now, work.rng)?);
        let sealed = world.people[1].transaction(now, seal).unwrap();
        let taken = crate::core::parcel::boxes_for(crate::core::parcel::join(&[sealed]).len()) as u64;
        assert!(taken <= counted && counted <= taken + 1, "{length}: {taken}, {counted}");
    }
}

#[test]
fn earlier_decoy_streams_are_forgotten_when_their_boxes_are_read() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    world.steps(1_050);
    let decoys = |world: &World| all(&world.people[0], StreamKind::Decoys).len();
    assert_eq!(decoys(&world), 2);
    for _ in 0..62 {
        world.day();
    }
    let streams = all(&world.people[0], StreamKind::Decoys);
    let ended = streams.iter().filter(|stream| stream.ended.is_some());
    assert!(ended.count() + 1 == streams.len() && streams[0].created > NOW + Duration::from_secs(3_600), "{streams:?}");
}

#[test]
fn two_people_talk_for_a_hundred_days_over_3500_boxes_and_nothing_is_lost_or_repeated() {
    let mut world = World::befriended(2, 3);
    world.reply_loss = 10;
    let mut said = [Vec::new(), Vec::new()];
    let mut ids = Vec::new();
    for day in 0..105 {
        // Bob is away for two weeks and a half, Alice for one, both for some days.
        world.online = vec![!(70..77).contains(&day) && day % 31 != 30, !(20..38).contains(&day) && day % 29 != 28];
        world.pass(world.document.params.day - world::STEP * 92);
        world.steps(20);
        for round in 0..9 {
            for person in 0..2 {
                for part in 0..2 {
                    if world.online[person] {
                        let text = format!("{person} {day:03} {round} {part}");
                        ids.push((person, world.write(person, ["Bob", "Alice"][person], &text)));
                        said[person].push(text);
                    }
                }
            }
            world.steps(8);
        }
    }
    world.online = vec![true; 2];
    for _ in 0..4 {
        world.steps(600);
        world.pass(world.document.params.day * 9 / 10);
    }
    world.steps(300);
    let mut boxes = 0;
    for (person, said) in said.iter().enumerate() {
        let mut came = world.read(1 - person);
        came.retain(|text| text != "hello");
        came.sort();
        let lost: Vec<_> = said.iter().filter(|text| !came.contains(text)).collect();
        assert!(lost.is_empty(), "{person}: {lost:?}, {:?}", world.people[1 - person].counters);
        assert_eq!(&came, said);
        let newest = *written(&world.people[person]).last().unwrap();
        assert!(newest.number >= 3, "{}", newest.number);
        assert_eq!(all(&world.people[1 - person], StreamKind::MessagesIn).last().unwrap().number, newest.number);
        boxes += newest.base + index(&world.people[person], newest.id);
    }
    assert!(boxes >= 3_500, "{boxes}");
    let open = ids.iter().filter(|(person, id)| world.state(*person, *id) != State::Delivered).count();
    assert_eq!(open, 0, "of {}", ids.len());
}
