//! Boxes that nobody fetches: renewed, and in the end given up with a reason.

use super::{world::World, *};
use crate::{
    core::keeping::RENEWALS_MAX,
    store::{messages::State, outbox},
};
use veilpost_packet::time::Day;

fn box_of(world: &World, id: messages::MessageId) -> Outgoing {
    world.people[0].outbox.values().find(|out| out.message == Some(id)).unwrap().clone()
}

fn reason(world: &World, id: messages::MessageId) -> Option<String> {
    messages::by_id(world.people[0].store.connection(), id).unwrap().reason
}

#[test]
fn what_its_reader_does_not_fetch_is_renewed_twice_before_it_expires_and_then_fails_with_the_reason() {
    for copies in [1, 2] {
        let mut world = World::befriended(copies, 2);
        world.online[1] = false;
        let id = world.write(0, "Bob", "are you there?");
        let sealed = box_of(&world, id).sealed;
        world.steps(75);
        let (mut expiries, mut failed) = (Vec::new(), None);
        for day in 1..50 {
            world.day();
            if world.state(0, id) == State::Failed {
                failed = Some(day);
                break;
            }
            for holder in world.holders_of(&sealed.id) {
                let kept = world.mailboxes[&holder].boxes.get(&sealed.id).expect("it never expires before its time");
                assert!(kept.verify(&world.document.network).is_some() && kept.ciphertext == sealed.ciphertext);
                expiries.push(kept.expiry);
            }
        }
        expiries.dedup();
        assert_eq!(expiries.len(), 1 + RENEWALS_MAX as usize, "{expiries:?}");
        assert!(failed.is_some_and(|day| (38..=46).contains(&day)), "{failed:?}");
        assert!(reason(&world, id).unwrap().contains("six weeks"));
        assert!(outbox::of_message(world.people[0].store.connection(), id).unwrap().is_empty(), "nothing is kept");
        assert!(!world.people[0].outbox.values().any(|out| out.message == Some(id)));
    }
}

#[test]
fn a_renewal_survives_a_restart_before_it_has_left() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    let id = world.write(0, "Bob", "are you there?");
    world.steps(75);
    let sealed = box_of_row(&world, id);
    world.pass(world.document.params.day * 15);
    world.people[0].handle_timers(world.now);
    let renewed = box_of(&world, id);
    assert!(renewed.sealed.expiry > sealed && renewed.retry.next.is_some() && renewed.retry.sends == 0);
    world.restart(0);
    assert_eq!(box_of(&world, id).sealed, renewed.sealed);
    world.steps(75);
    assert_eq!(box_of_row(&world, id), renewed.sealed.expiry);
    let holder = world.holders_of(&renewed.sealed.id)[0];
    assert_eq!(world.mailboxes[&holder].boxes[&renewed.sealed.id].expiry, renewed.sealed.expiry);
}

/// The expiry that is on disk.
fn box_of_row(world: &World, id: messages::MessageId) -> Day {
    let connection = world.people[0].store.connection();
    let sql = "SELECT sealed FROM outbox WHERE message = ?1";
    let bytes: Vec<u8> = connection.query_row(sql, [id.0], |row| row.get(0)).unwrap();
    veilpost_packet::boxes::SealedBox::from_bytes(&bytes).unwrap().expiry
}

#[test]
fn what_was_never_sent_gets_a_fresh_expiry_and_loses_no_life() {
    let mut world = World::befriended(2, 2);
    world.online = vec![false; 2];
    let id = world.write(0, "Bob", "from the desert");
    for _ in 0..3 {
        world.pass(world.document.params.day * 20);
        world.people[0].handle_timers(world.now);
        let out = box_of(&world, id);
        assert!(out.retry.is_fresh(), "it waits for its Put slot");
        assert_eq!(out.sealed.expiry, Day::at(world.now, world.document.params.day).plus(15));
    }
    world.online = vec![true; 2];
    world.steps(300);
    assert_eq!((world.state(0, id), world.read(1).len()), (State::Delivered, 2));
}

#[test]
fn a_message_that_is_delivered_at_once_is_still_sent_as_often_as_planned() {
    let mut world = World::befriended(2, 2);
    let id = world.write(0, "Bob", "read at once");
    let out = box_of(&world, id);
    world.people[0].outbox.get_mut(&out.id).unwrap().retry.planned = 6;
    outbox::begin_anew(world.people[0].store.connection(), out.id, &world.people[0].outbox[&out.id].retry).unwrap();
    // The last four come after ten minutes each, on average.
    world.steps(1_200);
    assert_eq!(world.state(0, id), State::Delivered);
    let brought = |mailbox: &crate::core::tests::world::Mailbox| {
        mailbox.brought.iter().filter(|(sealed, _)| sealed.id == out.sealed.id).count()
    };
    assert_eq!(world.mailboxes.values().map(brought).sum::<usize>(), 6);
    assert!(!world.people[0].outbox.contains_key(&out.id));
    assert!(outbox::by_id(world.people[0].store.connection(), out.id).unwrap().is_none());
}

#[test]
fn some_decoys_are_renewed_like_what_a_person_wrote() {
    let mut world = World::befriended(2, 2);
    world.online[1] = false;
    world.steps(2_000);
    let connection = world.people[0].store.connection();
    let kept: Vec<i64> = {
        let sql = "SELECT o.id FROM outbox o JOIN streams s ON s.id = o.stream WHERE s.kind = 4 AND o.renew_ms > 0";
        let mut select = connection.prepare(sql).unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    // One in 256 of 2,000.
    assert!((2..20).contains(&kept.len()), "{}", kept.len());
    world.pass(world.document.params.day * 15);
    world.steps(100);
    let renewed: i64 = world.people[0]
        .store
        .connection()
        .query_row(
            "SELECT count(*) FROM outbox o JOIN streams s ON s.id = o.stream WHERE s.kind = 4 AND o.renewals = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(renewed as usize, kept.len());
}

#[test]
fn more_renewals_than_one_look_at_the_clock_makes_wait_for_the_next() {
    let mut world = World::befriended(2, 2);
    world.online = vec![false; 2];
    let ids: Vec<_> = (0..40).map(|number| world.write(0, "Bob", &format!("{number}"))).collect();
    world.pass(world.document.params.day * 16);
    let today = Day::at(world.now, world.document.params.day);
    let fresh = |world: &World| ids.iter().filter(|id| box_of(world, **id).sealed.expiry > today).count();
    world.people[0].handle_timers(world.now);
    // A decoy may be among them.
    assert!((30..=32).contains(&fresh(&world)), "{}", fresh(&world));
    world.pass(Duration::from_secs(11));
    world.people[0].handle_timers(world.now);
    assert_eq!(fresh(&world), 40);
}
