//! Real processes: authorities, relays, mailboxes and the `veilpost` command on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;
use veilpost_tests::{
    person::Person,
    scene::{LONG, SOON, Scene, alone, assert_once, texts},
};

#[test]
fn two_people_exchange_texts_and_a_file_and_a_link_works_once() {
    let _alone = alone();
    let mut scene = Scene::new();
    let sent = scene.bob.json(&["send", "alice", "hello Alice", "--wait", "delivered", "--timeout", "240"]).unwrap();
    assert_eq!(sent.last().unwrap()["state"], "delivered");
    scene.alice.json(&["send", "bob", "hello Bob", "--wait", "stored", "--timeout", "240"]).unwrap();
    let received = scene.bob.wait_received(SOON, |lines| !lines.is_empty()).unwrap();
    assert_eq!((received[0]["text"].as_str(), received[0]["contact"].as_str()), (Some("hello Bob"), Some("alice")));

    let bytes: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_le_bytes()).take(30_000).collect();
    let file = scene.folder.path().join("plan.bin");
    std::fs::write(&file, &bytes).unwrap();
    scene.alice.json(&["send", "bob", "--file", file.to_str().unwrap()]).unwrap();
    let whole = |lines: &[Value]| lines.iter().any(|line| line["kind"] == "file" && line["state"] == "received");
    scene.bob.wait_received(LONG, whole).unwrap();
    let saved = scene.folder.path().join("saved");
    let inbox = scene.bob.json(&["inbox", "--save", saved.to_str().unwrap()]).unwrap();
    let path = inbox.iter().find_map(|line| line["path"].as_str()).expect("the file's path");
    assert_eq!(std::fs::read(path).unwrap(), bytes);

    let link = scene.alice.invite("carol").unwrap();
    let own = scene.alice.run(&["accept", &link]).unwrap();
    assert_eq!(own.status.code(), Some(6), "one's own link");
    let mistyped = link.replace(&link[..1], if link.starts_with('a') { "b" } else { "a" });
    assert_eq!(scene.bob.run(&["accept", &mistyped]).unwrap().status.code(), Some(6), "a mistyped link");
    let known = scene.bob.run(&["accept", &link]).unwrap();
    assert_eq!(known.status.code(), Some(6), "Bob has Alice already");
    assert_eq!(scene.bob.run(&["send", "nobody", "hi"]).unwrap().status.code(), Some(6), "an unknown contact");
    assert_eq!(scene.alice.run(&["daemon"]).unwrap().status.code(), Some(6), "a second daemon on one home");
    scene.assert_silent_logs();
}

#[test]
fn the_second_user_of_a_link_is_told_so() {
    let _alone = alone();
    let scene = Scene::new();
    let people = scene.folder.path().join("people");
    let link = scene.alice.invite("friend").unwrap();
    let mut guests = Vec::new();
    for name in ["Carol", "Dave"] {
        let mut guest = Person::init(&people, name, &scene.network().network_file()).unwrap();
        guest.start().unwrap();
        guest.wait_connected(SOON).unwrap();
        guests.push(guest);
    }
    guests[0].accept(&link, "alice", SOON).unwrap();
    guests[0].json(&["send", "alice", "I was first", "--wait", "stored", "--timeout", "240"]).unwrap();
    scene.alice.wait_contact("friend", LONG).unwrap();
    // Dave can open the link, since the offer is still there; his answer finds the box taken.
    guests[1].accept(&link, "alice", SOON).unwrap();
    let output = guests[1].run(&["send", "alice", "me too", "--wait", "delivered", "--timeout", "240"]).unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("used"), "{output:?}");
    let from_friend = |lines: &[Value]| lines.iter().any(|line| line["text"] == "I was first");
    scene.alice.wait_received(SOON, from_friend).unwrap();
    assert!(!texts(&scene.alice.received().unwrap()).contains_key("me too"));
}

#[test]
fn killing_a_daemon_at_fifty_random_moments_while_fifty_messages_flow_loses_and_repeats_none() {
    let _alone = alone();
    let mut scene = Scene::new();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(50);
    let mut expected = Vec::new();
    for number in 0..50 {
        let text = format!("message {number}");
        scene.alice.json(&["send", "bob", &text]).unwrap();
        expected.push(text);
        std::thread::sleep(Duration::from_millis(rng.random_range(0..900)));
        let victim = if rng.random_bool(0.5) { &mut scene.alice } else { &mut scene.bob };
        victim.kill();
        victim.start().unwrap();
    }
    scene.bob_receives(2 * LONG, &expected);
    // What is delivered is shown as delivered, and nothing comes twice afterwards.
    std::thread::sleep(Duration::from_secs(10));
    assert_once(&scene.bob.received().unwrap(), &expected);
}

#[test]
fn relays_that_are_killed_and_restarted_neither_replay_nor_wedge() {
    let _alone = alone();
    let scene = Scene::new();
    let mut expected = Vec::new();
    for (round, node) in ["mix-4", "mailbox-1", "entry-1", "mailbox-2", "mix-2"].iter().enumerate() {
        for number in 0..3 {
            let text = format!("round {round}, message {number}");
            scene.alice.json(&["send", "bob", &text]).unwrap();
            expected.push(text);
        }
        scene.network().kill(node, Signal::KILL).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        scene.network().start(node).unwrap();
    }
    scene.bob_receives(2 * LONG, &expected);
}

#[test]
fn without_a_network_the_client_says_so_and_keeps_what_it_was_given() {
    let _alone = alone();
    let mut scene = Scene::new();
    for entry in ["entry-1", "entry-2"] {
        scene.network().kill(entry, Signal::TERM).unwrap();
    }
    let output = scene.alice.run(&["send", "bob", "later", "--wait", "stored", "--timeout", "8"]).unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let status = scene.alice.json(&["status"]).unwrap();
    assert_eq!((status[0]["connected"].as_bool(), status[0]["queued"].as_u64()), (Some(false), Some(1)));
    scene.alice.kill();
    for entry in ["entry-1", "entry-2"] {
        scene.network().start(entry).unwrap();
    }
    scene.alice.start().unwrap();
    scene.bob_receives(LONG, &["later".to_owned()]);
}
