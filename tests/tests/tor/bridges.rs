//! People who reach the Tor network through a bridge, and by no other way.

use crate::pairs::{deliver, scene};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use veilpost_client::transport::Transport;
use veilpost_pki::NetworkFile;
use veilpost_tests::{
    person::Person,
    scene::{LONG, alone},
    sockets::family_peers,
    tornet::Bridge,
};

/// Settings of arti's own, as a person writes them.
fn settle(person: &Person, line: &str, more: &str) {
    std::fs::write(person.home().join("tor.toml"), format!("[bridges]\nbridges = \"{line}\"\n{more}")).unwrap();
}

/// Looks a hundred times a second whom a daemon has connections to, and a pluggable transport that it started.
struct Watch(Arc<AtomicBool>, JoinHandle<BTreeSet<SocketAddr>>);

impl Watch {
    fn over(person: &Person) -> Self {
        let (pid, over) = (person.pid().unwrap(), Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&over);
        let seen = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !until.load(Ordering::Relaxed) {
                seen.extend(family_peers(pid));
                std::thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Self(over, seen)
    }

    fn seen(self) -> BTreeSet<SocketAddr> {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap()
    }
}

/// A network file that does not promise that Tor stays on this computer: with it a pluggable transport may be used, a process of its own.
/// Where these tests run there is only this computer.
fn without_promise(file: &Path, folder: &Path) -> PathBuf {
    let mut network = NetworkFile::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    network.tor.as_mut().unwrap().loopback_only = false;
    let path = folder.join("without-promise.toml");
    std::fs::write(&path, network.to_text()).unwrap();
    path
}

fn carol_by_obfs4(people: &Path, file: &Path, bridge: &Bridge) -> Person {
    let carol = Person::init_by(people, "Carol", &without_promise(file, people), Transport::Tor).unwrap();
    let transport = "[[bridges.transports]]\nprotocols = [\"obfs4\"]\npath = \"/usr/bin/obfs4proxy\"\n";
    settle(&carol, &bridge.obfs4_line().unwrap(), transport);
    carol
}

#[test]
fn with_a_bridge_no_other_relay_is_dialed_even_when_the_bridge_is_gone() {
    let _alone = alone();
    let scene = scene(Transport::Mixnet, Transport::Mixnet);
    let tor = scene.network().tor().unwrap();
    let bridge = tor.bridge().unwrap();
    let mut carol = carol_by_obfs4(&scene.folder.path().join("people"), &scene.network().network_file(), &bridge);
    carol.start().unwrap();
    let of_carol = Watch::over(&carol);
    settle(&scene.alice, &bridge.line(), "");
    let of_alice = Watch::over(&scene.alice);
    scene.alice.change_to(Transport::MixnetOverTor).unwrap();
    for person in [&scene.alice, &carol] {
        person.wait_connected(LONG).unwrap();
    }
    let link = scene.alice.invite("carol").unwrap();
    carol.accept(&link, "alice", LONG).unwrap();
    scene.alice.wait_contact("carol", LONG).unwrap();
    deliver(&scene.alice, "carol", &carol, "by bridges").unwrap();

    bridge.stop();
    scene.alice.wait_warned("mixnet-over-tor does not get through", LONG).unwrap();
    carol.wait_warned("tor does not get through", LONG).unwrap();
    std::thread::sleep(Duration::from_secs(20));
    assert!(!scene.alice.is_connected().unwrap() && !carol.is_connected().unwrap());

    let [plain, obfs4] = bridge.addresses();
    assert_eq!(of_alice.seen(), [plain].into());
    // What is left is between the daemon and its transport.
    let (seen, relays) = (of_carol.seen(), tor.addresses());
    assert!(seen.contains(&obfs4), "{seen:?}");
    assert!(relays.iter().chain([&plain]).all(|relay| !seen.contains(relay)), "{seen:?}, {relays:?}");
}
