//! Readers who were away for longer than digests are kept, and whose friend is not there when they come back: sets alone tell.

use super::{world::World, *};
use crate::store::streams::StreamKind;
use veilpost_packet::frame::Wanted;

const TEXTS: usize = 12;

/// Bob goes away, Alice writes and goes away too, and so many days pass.
fn away(days: u32) -> World {
    let mut world = World::befriended(2, 3);
    world.steps(60);
    world.online[1] = false;
    for number in 0..TEXTS {
        world.write(0, "Bob", &format!("text {number:02}"));
    }
    world.steps(120);
    world.online[0] = false;
    world.pass(world.document.params.day * days);
    world.online[1] = true;
    world
}

/// A loop tick every four steps: about half a minute.
fn live(world: &mut World, ticks: u32) {
    for _ in 0..ticks {
        world.steps(4);
        world.hand_out_sets();
    }
}

fn texts(world: &World) -> usize {
    world.read(1).iter().filter(|text| text.starts_with("text")).count()
}

#[test]
fn a_reader_who_was_away_for_two_or_thirteen_days_gets_everything_from_sets() {
    for days in [2, 13] {
        let mut world = away(days);
        live(&mut world, 200);
        assert_eq!(texts(&world), TEXTS, "{days} days");
        assert!(world.people[1].sets.wanted() <= 3, "the hours that are not over");
    }
}

#[test]
fn without_sets_nothing_would_tell() {
    let mut world = away(2);
    world.steps(800);
    assert_eq!(texts(&world), 0);
}

#[test]
fn who_was_away_for_an_hour_follows_the_digests_and_asks_for_no_set() {
    let mut world = World::befriended(2, 3);
    world.steps(60);
    world.online[1] = false;
    for number in 0..TEXTS {
        world.write(0, "Bob", &format!("text {number:02}"));
    }
    world.steps(450);
    world.online[1] = true;
    world.steps(400);
    assert_eq!((texts(&world), world.people[1].sets.wanted()), (TEXTS, 0));
}

#[test]
fn digests_of_the_last_day_that_the_entry_does_not_have_are_made_up_for_by_sets() {
    let mut world = World::befriended(2, 3);
    world.steps(60);
    world.online[1] = false;
    for number in 0..TEXTS {
        world.write(0, "Bob", &format!("text {number:02}"));
    }
    world.steps(450);
    world.pass(world.document.params.hour() * 2);
    // A new process of the entry, that has what is said from now on alone.
    world.online[1] = true;
    world.entry_since = Tick::at(world.now, world.document.params.tick).next();
    world.seen[1] = world.entry_since;
    world.write(0, "Bob", "text that shows the gap");
    world.steps(60);
    assert!(world.people[1].tracker.gaps() > 0 && texts(&world) <= 1);
    live(&mut world, 10);
    assert_eq!(world.people[1].sets.wanted(), 0, "digests may still come");
    live(&mut world, 200);
    assert_eq!(texts(&world), TEXTS + 1);
}

#[test]
fn the_sets_of_a_mailbox_that_is_down_are_asked_for_with_the_others() {
    let mut world = away(2);
    let ids: Vec<_> = world.mailboxes.keys().copied().collect();
    assert!(ids.iter().all(|id| world.people[1].tracker.newest(id).is_some()));
    // One digest of one mailbox is all that is heard.
    let of = world.mailboxes.get_mut(&ids[0]).unwrap();
    of.unnamed.push(BoxTag([1; 6]));
    world.steps(1);
    // Of the digests those of this hour are asked for first.
    let wants = std::iter::from_fn(|| world.people[1].next_want(world.now, &world.document.params));
    let sets = wants.filter(|want| want.what != Wanted::Digests).map(|want| want.mailbox);
    assert_eq!(sets.collect::<BTreeSet<_>>(), ids.into_iter().collect());
}

#[test]
fn a_process_that_ends_while_it_catches_up_is_followed_by_one_that_goes_on() {
    let mut world = away(3);
    world.steps(4);
    world.restart(1);
    assert!(world.people[1].sets.wanted() > 24, "what was wanted is on disk before anything came");
    live(&mut world, 1);
    world.steps(2);
    let wanted = world.people[1].sets.wanted();
    world.restart(1);
    assert_eq!(world.people[1].sets.wanted(), wanted);
    live(&mut world, 200);
    assert_eq!(texts(&world), TEXTS);
}

#[test]
fn what_sets_named_is_asked_for_in_another_order_than_it_was_named() {
    let mut world = away(2);
    // Until all sets are here but those of the hour that is not over, before much of what they named was due.
    let waits = (0..60).find(|_| {
        live(&mut world, 1);
        (1..=3).contains(&world.people[1].sets.wanted())
    });
    assert!(waits.is_some());
    let bob = &world.people[1];
    let due = |fetch: &&Fetch| {
        let stream = streams::by_id(bob.store.connection(), fetch.key.stream).unwrap();
        stream.kind == StreamKind::MessagesIn && fetch.retry.asked == 0
    };
    let order: Vec<_> = bob.fetches.values().filter(due).map(|fetch| fetch.due).collect();
    assert!(order.len() > 3 && !order.is_sorted(), "{order:?}");
}

#[test]
fn sets_whose_hits_the_disk_does_not_take_are_asked_for_again() {
    let mut world = away(2);
    world.steps(4);
    let disk = |world: &World, takes: &str| {
        world.people[1].store.connection().execute_batch(&format!("PRAGMA query_only = {takes}")).unwrap();
    };
    disk(&world, "ON");
    // All that is wanted comes at once, as no time passes.
    (0..30).for_each(|_| world.hand_out_sets());
    let refused = world.people[1].sets.wanted();
    assert!(refused > 3, "those that named no box of ours are here: {refused}");
    disk(&world, "OFF");
    live(&mut world, 200);
    assert_eq!(texts(&world), TEXTS);
    assert!(world.people[1].sets.wanted() <= 3);
}
