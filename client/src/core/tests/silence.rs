//! A mailbox that named boxes while its reader was away for an hour, and fell silent before the reader came back: its chain shows no gap.

use super::{
    world::{Nature, World},
    *,
};
use veilpost_packet::frame::{Want, Wanted};

const TEXTS: usize = 12;

/// Bob goes away, Alice writes, one mailbox dies, and Bob comes back to an entry that tells him nothing of before.
fn away(dead: usize) -> (World, NodeId) {
    let mut world = World::befriended(2, 3);
    world.steps(60);
    world.online[1] = false;
    for number in 0..TEXTS {
        world.write(0, "Bob", &format!("text {number:02}"));
    }
    world.steps(300);
    let dead = *world.mailboxes.keys().nth(dead).unwrap();
    world.mailboxes.get_mut(&dead).unwrap().nature = Nature::Down;
    world.steps(20);
    come_back(&mut world);
    (world, dead)
}

fn come_back(world: &mut World) {
    let bob = &mut world.people[1];
    let session = bob.new_session();
    bob.handle_connected(world.now, &session, NodeId([1; 32]));
    world.online[1] = true;
    world.seen[1] = Tick::at(world.now, world.document.params.tick).next();
}

/// A loop tick every four steps, in which the others speak.
fn live(world: &mut World, ticks: u32) {
    for _ in 0..ticks {
        speak(world);
        world.steps(4);
        world.hand_out_sets();
    }
}

fn speak(world: &mut World) {
    let up = world.mailboxes.values_mut().filter(|mailbox| mailbox.nature != Nature::Down);
    up.for_each(|mailbox| mailbox.unnamed.push(BoxTag([1; 6])));
}

fn texts(world: &World) -> usize {
    world.read(1).iter().filter(|text| text.starts_with("text")).count()
}

/// What Bob asks for next, if he asks for digests of this mailbox.
fn next_want(world: &mut World, of: &NodeId) -> Option<Want> {
    let params = world.document.params.clone();
    let wants = std::iter::from_fn(|| world.people[1].next_want(world.now, &params));
    wants.take(20).find(|want| want.what == Wanted::Digests && want.mailbox == *of)
}

#[test]
fn what_a_mailbox_named_before_it_died_is_asked_for_and_read_from_the_other_holder() {
    for dead in 0..3 {
        let (mut world, _) = away(dead);
        live(&mut world, 200);
        assert_eq!(texts(&world), TEXTS, "without mailbox {dead}");
    }
}

#[test]
fn without_asking_nothing_would_tell() {
    let mut unread = 0;
    for dead in 0..3 {
        let (mut world, _) = away(dead);
        world.people[1].tracker = DigestTracker::new(
            world.now,
            &digests::chains(world.people[1].store.connection()).unwrap(),
            digests::tags(world.people[1].store.connection()).unwrap(),
        );
        live(&mut world, 200);
        unread += TEXTS - texts(&world);
    }
    assert!(unread >= TEXTS / 2, "{unread}");
}

#[test]
fn a_silent_mailbox_is_asked_about_three_times_in_vain_and_anew_with_the_next_connection() {
    let (mut world, dead) = away(0);
    // This entry has nothing of it.
    world.mailboxes.get_mut(&dead).unwrap().forget_history();
    for _ in 0..2 {
        let before = world.people[1].tracker.newest(&dead).unwrap();
        let (mut wants, begun) = (Vec::new(), world.now);
        for _ in 0..200 {
            speak(&mut world);
            world.steps(1);
            wants.extend(next_want(&mut world, &dead).map(|want| (world.now.since(begun), want)));
        }
        let (times, wants): (Vec<_>, Vec<_>) = wants.into_iter().unzip();
        assert_eq!(wants.len(), 3, "{times:?}");
        assert!(wants.iter().all(|want| want.first == before.next().0 && want.end() <= world.seen[1].0 + 1));
        assert!(times[1] - times[0] >= Duration::from_secs(60) && times[2] - times[1] >= Duration::from_secs(120));
        come_back(&mut world);
    }
}

#[test]
fn a_mailbox_is_not_silent_while_none_speaks_or_when_it_does() {
    let (mut world, dead) = away(0);
    assert_eq!(next_want(&mut world, &dead), None, "nobody has spoken yet");
    let up: Vec<_> = world.mailboxes.keys().copied().filter(|id| *id != dead).collect();
    for _ in 0..20 {
        speak(&mut world);
        world.steps(1);
        for id in &up {
            let want = next_want(&mut world, id);
            assert!(want.is_none_or(|want| want.end() <= world.people[1].tracker.newest(id).unwrap().0), "a gap alone");
        }
    }
}

#[test]
fn a_mailbox_that_no_document_knows_any_more_is_not_asked_about() {
    let (mut world, dead) = away(0);
    live(&mut world, 1);
    world.steps(1);
    let other = world::document(
        2,
        &world.mailboxes.keys().copied().filter(|id| *id != dead).collect::<Vec<_>>(),
        &world.people[1].authorities,
    );
    world.people[1].documents = veilpost_pki::Documents::from(other);
    for _ in 0..20 {
        speak(&mut world);
        world.steps(1);
        assert_eq!(next_want(&mut world, &dead), None);
    }
}
