//! People who are online for some minutes a day, on a network that loses some of what they send.

use super::{world::World, *};
use crate::{
    core::keeping::RENEWALS_MAX,
    store::{messages::State, successors},
};

/// Forty days in which Alice (0) is online for twelve minutes and Bob (1) for those and six minutes more in between, of whose
/// round trips one in ten fails; then days without losses. Gives how many texts did not come, came twice, and were not
/// receipted.
fn forty_days(seed: u8) -> (usize, usize, usize) {
    let mut world = World::befriended(2, 3);
    world.reseed(seed);
    world.loss = 10;
    let (mut said, mut ids) = ([Vec::new(), Vec::new()], Vec::new());
    let day = world.document.params.day;
    let write = |world: &mut World, said: &mut [Vec<String>; 2], person: usize, text: String| {
        let id = world.write(person, ["Bob", "Alice"][person], &text);
        said[person].push(text);
        (person, id)
    };
    for number in 0..40 {
        world.pass(day / 2 - world::STEP * 45);
        world.online = vec![false, true];
        ids.push(write(&mut world, &mut said, 1, format!("1 {number:02} alone")));
        world.steps(45);
        world.pass(day / 2 - world::STEP * 90);
        world.online = vec![true; 2];
        for round in 0..9 {
            for person in 0..2 {
                ids.push(write(&mut world, &mut said, person, format!("{person} {number:02} {round}")));
            }
            world.steps(10);
        }
    }
    world.loss = 0;
    for _ in 0..12 {
        world.pass(day - world::STEP * 90);
        world.steps(90);
    }
    let (mut lost, mut twice) = (0, 0);
    for (person, said) in said.iter().enumerate() {
        let came = world.read(1 - person);
        let times = |text: &String| came.iter().filter(|other| *other == text).count();
        lost += said.iter().filter(|text| times(text) == 0).count();
        twice += said.iter().filter(|text| times(text) > 1).count();
    }
    let open = ids.iter().filter(|(person, id)| world.state(*person, *id) != State::Delivered).count();
    (lost, twice, open)
}

#[test]
fn who_is_online_for_twelve_minutes_a_day_gets_every_text_once_and_every_receipt() {
    assert_eq!(forty_days(1), (0, 0, 0), "lost, twice, not receipted");
}

/// Takes what a person has written in boxes that belong to no message of the history, and nobody will ever see them.
fn lose_receipts(world: &mut World, person: usize) -> usize {
    let core = &mut world.people[person];
    let of = |out: &&Outgoing| out.kind == StreamKind::MessagesOut && out.message.is_none();
    let lost: Vec<_> = core.outbox.values().filter(of).map(|out| out.id).collect();
    for id in &lost {
        core.outbox.remove(id);
        outbox::remove(core.store.connection(), *id).unwrap();
    }
    lost.len()
}

fn owed(world: &World, person: usize) -> i64 {
    let connection = world.people[person].store.connection();
    connection.query_row("SELECT count(*) FROM receipts", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_receipt_that_was_lost_is_said_again_a_day_later_and_once_for_each_beacon() {
    let mut world = World::befriended(2, 2);
    let id = world.write(0, "Bob", "read at once");
    while world.read(1).len() < 2 {
        world.steps(1);
    }
    let later = world.now + Duration::from_secs(3_600);
    world.people[1].transaction(later, |work| work.send_due_receipts()).unwrap();
    assert_eq!(lose_receipts(&mut world, 1), 1);
    world.steps(30);
    assert_eq!(world.state(0, id), State::Stored);
    // What was read less than a day ago may have a receipt on its way.
    let (now, day, alice) =
        (world.now, world.document.params.day, contacts::all(world.people[1].store.connection()).unwrap()[0].id);
    let waiting: Vec<u64> = (0..1_000).collect();
    let mut again = |now: Timestamp| {
        world.people[1].transaction(now, |work| work.receipt_again(alice, &waiting)).unwrap();
        owed(&world, 1)
    };
    assert_eq!(again(now), 0);
    // "hello" was read too, and a beacon that says it waits is believed.
    assert_eq!((again(now + day), again(now + day)), (2, 2));
    world.people[1].store.connection().execute("DELETE FROM receipts", []).unwrap();
    for _ in 0..5 {
        world.day();
    }
    assert_eq!((world.state(0, id), owed(&world, 1)), (State::Delivered, 0));
    assert_eq!(world.read(1).len(), 2);
}

#[test]
fn receipts_are_renewed_like_what_they_receipt_until_their_reader_has_heard_of_them() {
    let mut world = World::befriended(2, 2);
    let contact = contacts::all(world.people[1].store.connection()).unwrap()[0].id;
    let renewed = |world: &World| {
        let connection = world.people[1].store.connection();
        let stream = streams::of_contact(connection, contact, StreamKind::MessagesOut).unwrap().unwrap();
        successors::kept(connection, stream.id).unwrap()
    };
    let id = world.write(0, "Bob", "read while its writer is away");
    world.steps_until_stored(0, id);
    world.online[0] = false;
    (0..2 * world.document.params.box_days - 2).for_each(|_| world.day());
    assert_eq!(world.read(1).len(), 2);
    assert!(!renewed(&world).is_empty() && world.state(0, id) != State::Delivered);
    world.online[0] = true;
    (0..3).for_each(|_| world.day());
    assert_eq!(world.state(0, id), State::Delivered);
    (0..3).for_each(|_| world.day());
    assert_eq!(renewed(&world), []);
    // Whoever never hears of them does not have them renewed for ever.
    world.write(0, "Bob", "the last");
    world.steps(8);
    world.online[0] = false;
    (0..world.document.params.box_days * (RENEWALS_MAX + 1) + 1).for_each(|_| world.day());
    assert_eq!(renewed(&world), []);
}
