//! People on every pair of transports, and what happens in the middle of a file.

use rustix::process::Signal;
use serde_json::Value;
use std::{path::Path, time::Duration};
use veilpost_client::transport::Transport;
use veilpost_tests::{
    person::Person,
    scene::{LONG, Scene, alone},
    testnet::{Result, Shape},
};

/// A fast network over Tor on which Alice and Bob are contacts, by these transports.
pub(crate) fn scene(alice: Transport, bob: Transport) -> Scene {
    let shape = Shape { fast: true, tor: true, ..Shape::default() };
    Scene::by(&shape, [alice, bob])
}

pub(crate) fn deliver(from: &Person, contact: &str, to: &Person, text: &str) -> Result<()> {
    from.json(&["send", contact, text])?;
    to.wait_received(LONG, |lines| lines.iter().any(|line| line["text"] == text)).map(drop)
}

/// The state of a node's onion service keeps its address over a restart.
fn addresses(scene: &Scene) -> Vec<String> {
    let named = |name: &str| scene.network().onion(name).unwrap().rsplit(' ').next().unwrap().to_owned();
    ["entry-1", "mailbox-1"].map(named).to_vec()
}

#[test]
fn texts_arrive_by_every_pair_of_transports_and_a_change_loses_none() {
    let _alone = alone();
    let scene = scene(Transport::Mixnet, Transport::Mixnet);
    for ours in Transport::ALL {
        scene.alice.change_to(ours).unwrap();
        for theirs in Transport::ALL {
            scene.bob.change_to(theirs).unwrap();
            // Sent while both change.
            let text = format!("{} to {}", ours.name(), theirs.name());
            deliver(&scene.alice, "bob", &scene.bob, &text).unwrap();
            deliver(&scene.bob, "alice", &scene.alice, &format!("{text} and back")).unwrap();
        }
    }
    let received = scene.bob.received().unwrap();
    assert_eq!(received.len(), 9, "each once: {received:?}");
}

fn send_file(scene: &Scene, bytes: &[u8]) {
    let path = scene.folder.path().join("plan.bin");
    std::fs::write(&path, bytes).unwrap();
    scene.bob.json(&["send", "alice", "--file", path.to_str().unwrap()]).unwrap();
}

fn saved(person: &Person, folder: &Path) -> Vec<u8> {
    let whole = |lines: &[Value]| lines.iter().any(|line| line["kind"] == "file" && line["state"] == "received");
    person.wait_received(LONG, whole).unwrap();
    let inbox = person.json(&["inbox", "--save", folder.to_str().unwrap()]).unwrap();
    std::fs::read(inbox.iter().find_map(|line| line["path"].as_str()).unwrap()).unwrap()
}

#[test]
fn a_file_arrives_whole_though_onion_services_are_killed_and_transports_change_half_way() {
    let _alone = alone();
    let scene = scene(Transport::MixnetOverTor, Transport::Tor);
    let before = addresses(&scene);
    let bytes: Vec<u8> = (0..60_000u32).map(|n| (n * 31 % 251) as u8).collect();
    send_file(&scene, &bytes);
    std::thread::sleep(Duration::from_secs(6));
    // The mailbox's onion service, and with an entry's perhaps Alice's circuit.
    for name in ["mailbox-1", "entry-1"] {
        scene.network().kill(name, Signal::KILL).unwrap();
    }
    std::thread::sleep(Duration::from_secs(4));
    for name in ["mailbox-1", "entry-1"] {
        scene.network().start(name).unwrap();
    }
    scene.bob.change_to(Transport::MixnetOverTor).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    scene.alice.change_to(Transport::Tor).unwrap();
    assert!(saved(&scene.alice, &scene.folder.path().join("saved")) == bytes, "the same bytes");
    assert_eq!(addresses(&scene), before, "a restart keeps the address");
}
