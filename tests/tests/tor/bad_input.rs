//! What goes wrong is said plainly, and nothing ever goes by another way.

use crate::pairs::scene;
use std::time::Duration;
use veilpost_client::transport::Transport;
use veilpost_pki::NetworkFile;
use veilpost_tests::{
    person::Person,
    scene::{LONG, SOON, alone},
};

/// Waits until a warning says so.
fn wait_warned(person: &Person, words: &str) {
    person.wait_warned(words, LONG).unwrap();
}

#[test]
fn a_wrong_key_or_clock_or_no_onion_service_or_no_tor_network_is_told_and_nothing_goes_another_way() {
    let _alone = alone();
    let scene = scene(Transport::Mixnet, Transport::MixnetOverTor);
    let people = scene.folder.path().join("people");
    let file = std::fs::read_to_string(scene.network().network_file()).unwrap();
    let with = |name: &str, change: &dyn Fn(&mut NetworkFile)| {
        let mut network = NetworkFile::parse(&file).unwrap();
        change(&mut network);
        let path = people.join(format!("{name}.toml"));
        std::fs::write(&path, network.to_text()).unwrap();
        path
    };

    // Behind the onion address is somebody else.
    let swapped = with("swapped", &|network| {
        let other = network.entries[1].onion.clone();
        network.entries.truncate(1);
        network.entries[0].onion = other;
    });
    let mut carol = Person::init_by(&people, "Carol", &swapped, Transport::MixnetOverTor).unwrap();
    carol.start().unwrap();
    wait_warned(&carol, "behind the onion service is not the entry");

    // The clock is hours off: Tor bears it, the network document does not.
    let mut frank =
        Person::init_by(&people, "Frank", &scene.network().network_file(), Transport::MixnetOverTor).unwrap();
    frank.set_clock_off("+5h");
    frank.start().unwrap();
    wait_warned(&frank, "check this computer's clock");

    // It is days off, and Tor does not bear it.
    let mut grace = Person::init_by(&people, "Grace", &scene.network().network_file(), Transport::Tor).unwrap();
    grace.set_clock_off("-10d");
    grace.start().unwrap();
    wait_warned(&grace, "Tor is not ready");

    // A service that nobody publishes.
    let unknown = with("unknown", &|network| {
        for entry in &mut network.entries {
            entry.onion = Some("lepfcsuqtlscp42zmnfiu4aywmv4j3rxeowmfabhsjwv5mymxzpeqdid.onion".into());
        }
    });
    let mut dave = Person::init_by(&people, "Dave", &unknown, Transport::Tor).unwrap();
    dave.start().unwrap();
    wait_warned(&dave, "No other way is tried");
    for person in [&carol, &dave, &frank, &grace] {
        assert!(!person.is_connected().unwrap(), "{}", person.name());
    }

    // No onion service at all: such an account is not even made.
    let none = with("none", &|network| network.entries.iter_mut().for_each(|entry| entry.onion = None));
    let refused = Person::init_by(&people, "Eve", &none, Transport::Tor).unwrap_err().to_string();
    assert!(refused.contains("no entry of the network file has an onion service"), "{refused}");

    wait_warned(&grace, "check this computer's connection, and its clock");

    // Tor is gone. Bob stays unconnected, though every entry could be reached without it; what he writes waits.
    scene.network().tor().unwrap().stop();
    scene.bob.json(&["send", "alice", "written without Tor"]).unwrap();
    wait_warned(&scene.bob, "mixnet-over-tor does not get through");
    std::thread::sleep(Duration::from_secs(20));
    assert!(!scene.bob.is_connected().unwrap(), "no silent fall back");
    let queued = scene.bob.run(&["send", "alice", "more", "--wait", "stored", "--timeout", "2"]).unwrap();
    assert_eq!(queued.status.code(), Some(4), "unreachable: {}", String::from_utf8_lossy(&queued.stderr));
    assert!(scene.alice.received().unwrap().is_empty());

    // He decides so himself.
    scene.bob.change_to(Transport::Mixnet).unwrap();
    scene.bob.wait_connected(SOON).unwrap();
    scene.alice.wait_received(LONG, |lines| lines.len() == 2).unwrap();
}
