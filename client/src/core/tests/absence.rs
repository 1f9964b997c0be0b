//! Readers who were away for longer than digests are kept, and for longer than boxes live.

use super::{world::World, *};
use crate::{
    content::beacon::Beacon,
    core::reading::LOOK_AHEAD,
    store::{contacts::ContactState, messages::State},
};

#[test]
fn a_reader_who_was_away_for_thirty_days_loses_nothing_and_the_conversation_goes_on() {
    for copies in [1, 2] {
        let mut world = World::befriended(copies, 3);
        world.online[1] = false;
        let mut written = Vec::new();
        for day in 0..30 {
            written.push(world.write(0, "Bob", &format!("day {day:02}")));
            world.day();
        }
        world.online[1] = true;
        world.steps(900);
        let mut expected: Vec<_> = (0..30).map(|day| format!("day {day:02}")).collect();
        expected.push("hello".into());
        let mut came = world.read(1);
        came.sort();
        assert_eq!(came, expected, "K = {copies}");
        assert!(written.iter().all(|id| world.state(0, *id) == State::Delivered));
        let back = world.write(1, "Alice", "I am back");
        world.steps(200);
        assert_eq!(world.read(0).last().map(String::as_str), Some("I am back"));
        assert_eq!(world.state(1, back), State::Delivered);
        let bob = &world.people[1];
        let real = |fetch: &&Fetch| {
            streams::by_id(bob.store.connection(), fetch.key.stream).unwrap().kind == StreamKind::MessagesIn
        };
        let missed = bob.fetches.values().filter(real).filter(|fetch| fetch.retry.asked > 3).count();
        assert_eq!(missed, 0, "it asks for what is there");
    }
}

#[test]
fn receipts_that_were_missed_come_with_the_next_beacon() {
    let mut world = World::befriended(2, 2);
    let id = world.write(0, "Bob", "read while I was away");
    world.steps_until_stored(0, id);
    world.online[0] = false;
    world.steps(300);
    assert_eq!(world.read(1).len(), 2);
    (0..3).for_each(|_| world.day());
    assert_ne!(world.state(0, id), State::Delivered);
    world.online[0] = true;
    world.steps(900);
    assert_eq!(world.state(0, id), State::Delivered);
}

#[test]
fn there_is_one_beacon_a_day_for_each_contact_and_none_twice_after_a_restart() {
    let mut world = World::befriended(2, 2);
    for _ in 0..6 {
        world.day();
        world.restart(0);
        world.steps(5);
    }
    let connection = world.people[0].store.connection();
    let stream = streams::of_kinds(connection, &[StreamKind::BeaconOut]).unwrap()[0];
    let days = streams::write_cap(connection, stream.id).unwrap().index();
    assert!((5..=7).contains(&days), "{days}");
    let of_stream = |bob: &Core| {
        let stream = streams::of_kinds(bob.store.connection(), &[StreamKind::BeaconIn]).unwrap()[0];
        (streams::read_cap(bob.store.connection(), stream.id).unwrap().index(), bob.watched[&stream.id])
    };
    let (low, end) = of_stream(&world.people[1]);
    assert!(low <= days && end - low <= crate::core::beacon::WINDOW, "{low} {end}");
}

#[test]
fn a_session_that_nobody_answered_for_thirty_days_begins_anew_with_a_beacon() {
    let mut world = World::new(2, 2);
    let link = invited(&mut world.people[0], NOW);
    world.steps(10);
    let now = world.now;
    world.people[1].accept(now, &link, Some("Alice"), 7).unwrap();
    let established = |world: &World| world.people[0].contact("Bob").unwrap().state == ContactState::Established;
    while !established(&world) {
        world.steps(1);
    }
    world.online[0] = false;
    world.pass(world.document.params.day * 31);
    let now = world.now;
    assert!(matches!(
        world.people[1].send_text(now, "Alice", "still there?"),
        Err(CoreError::Signal(SignalError::Unanswered))
    ));
    let (alices, bobs) = (world.people[0].contact("Bob").unwrap().id, world.people[1].contact("Alice").unwrap().id);
    let content = world.people[0].transaction(now, |work| work.beacon_content(alices)).unwrap();
    world.people[1].transaction(now, |work| work.read_beacon(bobs, &content)).unwrap();
    world.write(1, "Alice", "still there?");
    world.online[0] = true;
    world.steps(120);
    assert_eq!(world.read(0), ["still there?"]);
    world.write(0, "Bob", "yes");
    world.steps(120);
    assert_eq!(world.read(1), ["yes"]);
    // Of the prekeys that beacons offered only those of the last days are kept.
    let offered = |world: &World| -> i64 {
        let connection = world.people[0].store.connection();
        connection
            .query_row("SELECT count(*) FROM prekey_sets WHERE contact IS NOT NULL", [], |row| row.get(0))
            .unwrap()
    };
    (0..25).for_each(|_| world.day());
    assert!(offered(&world) <= 18, "{}", offered(&world));
}

#[test]
fn a_beacon_of_another_identity_or_of_nonsense_changes_nothing() {
    let mut world = World::befriended(2, 2);
    let (now, bobs) = (world.now, world.people[1].contact("Alice").unwrap().id);
    let alices = world.people[0].contact("Bob").unwrap().id;
    let (mut stranger, mut rng) = (Store::in_memory().unwrap(), random::seeded([33; 32]));
    let network = world.document.network;
    let bundle = stranger.transaction(|tx| {
        signal::create_account(tx, "Mallory", network, NOW, &mut rng)?;
        signal::create_bundle(tx, None, NOW, &mut rng)
    });
    let bundle = bundle.unwrap().1.encode();
    let told = Beacon::decode(&world.people[0].transaction(now, |work| work.beacon_content(alices)).unwrap()).unwrap();
    let waiting: Vec<u64> = (0..1_000).collect();
    let foreign = Beacon { waiting: waiting.clone(), bundle, ..told.clone() }.encode();
    let nonsense = Beacon { waiting, bundle: vec![7; signal::Bundle::LEN], ..told }.encode();
    let good = world.people[0].transaction(now, |work| work.beacon_content(alices)).unwrap();
    let mut far = Beacon::decode(&good).unwrap();
    far.waiting = (u64::MAX - 1_000..u64::MAX).collect();
    let before = world.people[1].fetches.len();
    for content in [foreign, nonsense, far.encode(), good[..good.len() - 1].to_vec(), Vec::new()] {
        world.people[1].transaction(now, |work| work.read_beacon(bobs, &content)).unwrap();
    }
    assert_eq!(world.people[1].fetches.len(), before, "nothing so far ahead is asked for");
    world.write(0, "Bob", "as ever");
    world.steps(100);
    assert_eq!(world.read(1).last().map(String::as_str), Some("as ever"));
}

#[test]
fn a_reader_looks_256_boxes_ahead_and_not_one_more() {
    assert_eq!(LOOK_AHEAD, 256);
    let mut world = World::befriended(2, 2);
    let (now, contact) = (world.now, world.people[1].contact("Alice").unwrap().id);
    let bob = &mut world.people[1];
    let stream = streams::of_contact(bob.store.connection(), contact, StreamKind::MessagesIn).unwrap().unwrap().id;
    let next = streams::highest_seen(bob.store.connection(), stream).unwrap().map_or(0, |highest| highest + 1);
    let mut cap = streams::read_cap(bob.store.connection(), stream).unwrap();
    let next = next.max(cap.index());
    while cap.index() < next + LOOK_AHEAD - 1 {
        cap.advance();
    }
    let last = cap.expected().unwrap().id;
    cap.advance();
    let beyond = cap.expected().unwrap().id;
    bob.handle_hits(now, vec![BoxTag::of(&beyond)], None).unwrap();
    assert!(!bob.fetches.values().any(|fetch| fetch.id == beyond), "the 257th is not looked for");
    bob.handle_hits(now, vec![BoxTag::of(&last)], None).unwrap();
    assert!(bob.fetches.values().any(|fetch| fetch.id == last), "the 256th is");
    bob.handle_hits(now, vec![BoxTag::of(&beyond)], None).unwrap();
    assert!(bob.fetches.values().any(|fetch| fetch.id == beyond), "and the window has moved on with it");
}

#[test]
fn a_file_that_was_sent_while_its_reader_was_away_comes_with_the_beacons() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    let bytes: Vec<u8> = (0..40_000u32).map(|at| at as u8).collect();
    let now = world.now;
    let id = world.people[0].send_file(now, "Bob", "picture.png", "image/png", &bytes).unwrap();
    (0..5).for_each(|_| world.day());
    assert_eq!(world.state(0, id), State::Stored);
    world.online[1] = true;
    for _ in 0..3 {
        world.steps(700);
        world.pass(world.document.params.day * 9 / 10);
    }
    world.steps(300);
    assert_eq!(world.state(0, id), State::Delivered);
    let all = messages::list(world.people[1].store.connection(), None, 100).unwrap();
    let file = all.into_iter().find_map(|one| one.message.file).unwrap();
    assert_eq!(crate::store::files::read_all(world.people[1].store.connection(), file).unwrap().unwrap(), bytes);
}
