//! A backup that is put back: conversations begin anew by themselves.

use super::{world::World, *};
use crate::store::{messages::State, outbox, restarts};
use std::collections::BTreeSet;
use veilpost_packet::ids::BoxId;

/// A copy of a store, as a backup makes one.
fn copy(store: &Store) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy").to_str().unwrap().to_owned();
    store.connection().execute("VACUUM INTO ?1", [&path]).unwrap();
    let new = Store::in_memory().unwrap();
    let connection = new.connection();
    connection.execute("ATTACH ?1 AS copy KEY ''", [&path]).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let tables: Vec<String> = {
        let mut select = connection.prepare("SELECT name FROM copy.sqlite_master WHERE type = 'table'").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for table in tables {
        let all = format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM copy.{table};");
        connection.execute_batch(&all).unwrap();
    }
    connection.execute_batch("DETACH copy; PRAGMA foreign_keys = ON").unwrap();
    new
}

fn restore(world: &mut World, person: usize, backup: Store) {
    world.people[person].store = backup;
    world.restart(person);
}

fn contact_of(core: &Core) -> ContactId {
    contacts::all(core.store.connection()).unwrap()[0].id
}

/// Ids of all boxes that were ever brought to a mailbox.
fn brought(world: &World) -> BTreeSet<BoxId> {
    world.mailboxes.values().flat_map(|mailbox| mailbox.brought.iter().map(|(sealed, _)| sealed.id)).collect()
}

fn restarted(world: &World) -> [Timestamp; 2] {
    [0, 1].map(|at| {
        let core = &world.people[at];
        restarts::last(core.store.connection(), contact_of(core)).unwrap().0
    })
}

/// Both write, and each text of both is read once, in the end.
fn resumes(world: &mut World, expected: [&[&str]; 2]) {
    world.write(0, "Bob", "after all");
    world.write(1, "Alice", "after all");
    world.steps(300);
    for (person, expected) in expected.into_iter().enumerate() {
        let mut came = world.read(person);
        came.sort();
        let mut all: Vec<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        all.extend(["after all".to_owned(), "hello".to_owned()]);
        all.sort();
        assert_eq!(came, all, "read by {person}");
        let core = &world.people[person];
        assert!(restarts::pending(core.store.connection(), contact_of(core)).unwrap().is_none());
    }
    assert_eq!(restarted(world)[0], restarted(world)[1]);
}

#[test]
fn a_backup_that_was_put_back_begins_the_conversation_anew_at_the_first_conflict() {
    for copies in [1, 2] {
        let mut world = World::befriended(copies, 3);
        let backup = copy(&world.people[0].store);
        for number in 0..4 {
            world.write(0, "Bob", &format!("lost {number}"));
            world.steps(20);
            world.write(1, "Alice", &format!("forgotten {number}"));
            world.steps(20);
        }
        world.steps(100);
        assert_eq!((world.read(0).len(), world.read(1).len()), (5, 5));
        // Not read yet, and not known to the backup either.
        world.write(0, "Bob", "on its way");
        world.steps(4);
        restore(&mut world, 0, backup);
        assert_eq!(world.read(0), ["hello"]);
        let id = world.write(0, "Bob", "from the backup");
        let answer = world.write(1, "Alice", "to the backup");
        world.steps(150);
        assert!(restarted(&world)[0] > Timestamp::ZERO, "a conflict showed it");
        assert_eq!(world.state(0, id), State::Queued, "it waits for prekeys");
        let old: BTreeSet<_> = brought(&world);
        // The contact's beacon comes within a day.
        (0..3).for_each(|_| world.day());
        world.steps(300);
        assert!(brought(&world).len() > old.len());
        assert_eq!((world.state(0, id), world.state(1, answer)), (State::Delivered, State::Delivered));
        let from_alice = ["lost 0", "lost 1", "lost 2", "lost 3", "on its way", "from the backup"];
        resumes(&mut world, [&["to the backup"], &from_alice]);
        let told = |person| world.warnings(person).iter().any(|told| told.contains("began anew"));
        assert!(told(0) && told(1), "both see it");
        (0..7).for_each(|_| world.day());
        assert!(!world.warnings(0).iter().any(|told| told.contains("began anew")), "for a week");
    }
}

#[test]
fn a_backup_whose_boxes_nobody_remembers_learns_from_the_contact_s_beacon_and_sends_again() {
    let mut world = World::befriended(2, 2);
    let backup = copy(&world.people[0].store);
    for number in 0..4 {
        world.write(0, "Bob", &format!("lost {number}"));
        world.steps(30);
    }
    // Long after: no mailbox knows any more what lay there.
    for _ in 0..5 {
        world.day();
    }
    world.pass(world.document.params.day * 3);
    restore(&mut world, 0, backup);
    let id = world.write(0, "Bob", "from the backup");
    (0..3).for_each(|_| world.day());
    world.steps(300);
    assert_eq!(world.state(0, id), State::Delivered);
    resumes(&mut world, [&[], &["lost 0", "lost 1", "lost 2", "lost 3", "from the backup"]]);
}

#[test]
fn nothing_is_written_in_the_old_streams_any_more() {
    let mut world = World::befriended(2, 2);
    let backup = copy(&world.people[0].store);
    let stream = streams::of_kinds(world.people[0].store.connection(), &[StreamKind::MessagesOut]).unwrap()[0].id;
    let mut cap = streams::write_cap(backup.connection(), stream).unwrap().read_cap();
    world.write(0, "Bob", "lost");
    world.steps(60);
    restore(&mut world, 0, backup);
    world.write(0, "Bob", "from the backup");
    // The second sending, which is answered with the second conflict, is ten minutes later on average.
    world.steps(600);
    let mut old = BTreeSet::new();
    for _ in 0..500 {
        old.insert(cap.expected().unwrap().id);
        cap.advance();
    }
    let writes = |world: &World| {
        let all = world.mailboxes.values().flat_map(|mailbox| &mailbox.brought);
        all.filter(|(sealed, _)| old.contains(&sealed.id)).count()
    };
    let before = writes(&world);
    assert!(before > 0 && streams::by_id(world.people[0].store.connection(), stream).is_err());
    for number in 0..10 {
        world.write(0, "Bob", &format!("{number}"));
        world.day();
    }
    assert_eq!(writes(&world), before);
    assert_eq!(world.read(1).len(), 13);
    // Its beacons go on without a box that is written twice.
    let conflicts =
        world.people[0].outbox.values().filter(|out| out.kind == StreamKind::BeaconOut && out.retry.sends > 4);
    assert_eq!(conflicts.count(), 0);
}

#[test]
fn two_backups_that_are_put_back_agree_on_the_later_restart() {
    let mut world = World::befriended(2, 2);
    let backups = [copy(&world.people[0].store), copy(&world.people[1].store)];
    for number in 0..3 {
        world.write(0, "Bob", &format!("lost {number}"));
        world.write(1, "Alice", &format!("lost {number}"));
        world.steps(40);
    }
    for (person, backup) in backups.into_iter().enumerate() {
        restore(&mut world, person, backup);
    }
    let ids = [world.write(0, "Bob", "from the backup"), world.write(1, "Alice", "from the backup")];
    for _ in 0..6 {
        world.day();
    }
    world.steps(300);
    assert_eq!([world.state(0, ids[0]), world.state(1, ids[1])], [State::Delivered; 2]);
    resumes(&mut world, [&["from the backup"], &["from the backup"]]);
}

#[test]
fn a_restart_is_repeated_until_it_is_confirmed_and_survives_restarts_and_losses() {
    let mut world = World::befriended(2, 2);
    let backup = copy(&world.people[0].store);
    world.write(0, "Bob", "lost");
    world.steps(60);
    restore(&mut world, 0, backup);
    let id = world.write(0, "Bob", "from the backup");
    world.loss = 30;
    for day in 0..8 {
        // Each is away every third day.
        world.online = vec![day % 3 != 1, day % 3 != 2];
        world.day();
        world.restart(0);
        world.restart(1);
    }
    (world.online, world.loss) = (vec![true; 2], 0);
    (0..3).for_each(|_| world.day());
    world.steps(600);
    assert_eq!(world.state(0, id), State::Delivered);
    resumes(&mut world, [&[], &["lost", "from the backup"]]);
}

#[test]
fn files_on_their_way_fail_with_the_reason_where_a_backup_was_put_back_and_go_on_where_not() {
    let mut world = World::befriended(2, 2);
    let now = world.now;
    let ours = world.people[0].send_file(now, "Bob", "ours.bin", "application/x", &[7; 20_000]).unwrap();
    let backup = copy(&world.people[0].store);
    world.write(0, "Bob", "lost");
    world.steps(200);
    restore(&mut world, 0, backup);
    world.write(0, "Bob", "from the backup");
    while restarted(&world)[0] == Timestamp::ZERO {
        world.steps(1);
    }
    let now = world.now;
    let theirs = world.people[1].send_file(now, "Alice", "theirs.bin", "application/x", &[8; 20_000]).unwrap();
    for _ in 0..3 {
        world.day();
    }
    world.steps(900);
    let row = messages::by_id(world.people[0].store.connection(), ours).unwrap();
    assert_eq!((row.message.state, row.message.body), (State::Failed, None));
    assert!(row.reason.unwrap().contains("restored from a backup"));
    assert_eq!(world.state(1, theirs), State::Delivered);
    assert!(outbox::of_message(world.people[0].store.connection(), ours).unwrap().is_empty());
}

#[test]
fn a_restart_of_the_past_or_of_a_far_future_changes_nothing() {
    let mut world = World::befriended(2, 2);
    let (now, alices, bobs) = (world.now, contact_of(&world.people[0]), contact_of(&world.people[1]));
    let say = |world: &mut World, at: Timestamp, number: u8| {
        let seed = |byte| crate::content::StreamSeed::new([byte; 32]);
        let body = crate::content::Body::Restart { writer_writes: seed(number), reader_writes: seed(number + 100) };
        let message = crate::content::Message { uuid: crate::content::Uuid([number; 16]), sent_at: at, body };
        let plain = message.encode().unwrap();
        let seal =
            |work: &mut crate::core::work::Work<'_>| Ok(signal::encrypt(work.tx, alices, &plain, now, work.rng)?);
        let sealed = world.people[0].transaction(now, seal).unwrap();
        world.people[1].transaction(now, |work| work.read_restart(bobs, &sealed)).unwrap();
        restarts::last(world.people[1].store.connection(), bobs).unwrap()
    };
    let streams = |world: &World| streams::of_kinds(world.people[1].store.connection(), &[StreamKind::MessagesOut]);
    let before = streams(&world).unwrap();
    let day = world.document.params.day;
    assert_eq!(say(&mut world, now + day * 33, 1).0, Timestamp::ZERO, "it would be the last for ever");
    assert_eq!(streams(&world).unwrap(), before);
    assert_eq!(say(&mut world, now, 2).1, crate::content::Uuid([2; 16]));
    let after = streams(&world).unwrap();
    assert_ne!(after, before);
    assert_eq!(say(&mut world, now - day, 3).1, crate::content::Uuid([2; 16]));
    assert_eq!(say(&mut world, now, 2).1, crate::content::Uuid([2; 16]), "the same again is receipted again");
    assert_eq!(streams(&world).unwrap(), after);
}

#[test]
fn a_restart_is_later_than_the_one_that_the_contact_knows_whatever_the_clocks_say() {
    let mut world = World::befriended(2, 2);
    let (now, contact) = (world.now, contact_of(&world.people[0]));
    let day = world.document.params.day;
    let begin = |world: &mut World, known: Timestamp| {
        world.people[0].transaction(now, |work| work.restart(contact, known.as_millis())).unwrap();
        restarts::last(world.people[0].store.connection(), contact).unwrap().0
    };
    assert_eq!(begin(&mut world, Timestamp::ZERO).as_millis(), now.as_millis());
    assert_eq!(begin(&mut world, Timestamp::ZERO).as_millis(), now.as_millis(), "one at a time");
    let ahead = now + day * 2;
    assert_eq!(begin(&mut world, ahead).as_millis(), ahead.as_millis() + 1);
    assert_eq!(begin(&mut world, now + day * 40).as_millis(), ahead.as_millis() + 1, "a lie is not followed");
}
