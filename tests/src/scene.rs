//! Two people who are contacts, on a network of real processes: what most whole-network tests start from. Whatever fails here fails
//! the test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "asserts of tests")]

use crate::{
    logs,
    person::Person,
    testnet::{Shape, Testnet},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use veilpost_client::transport::Transport;

/// What usually takes seconds.
pub const SOON: Duration = Duration::from_secs(60);
/// What may take minutes on a busy machine.
pub const LONG: Duration = Duration::from_secs(300);

/// One network at a time: fifteen processes and two clients are enough for a small machine.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A network, Alice and Bob. Everything is taken down when this is dropped.
#[derive(Debug)]
pub struct Scene {
    /// Its folder; the network is in `net`, people in `people`.
    pub folder: tempfile::TempDir,
    /// Someone.
    pub alice: Person,
    /// Someone else.
    pub bob: Person,
    network: Option<Testnet>,
}

impl Scene {
    /// A fast network on which Alice and Bob are contacts.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn new() -> Self {
        Self::of(&Shape { fast: true, ..Shape::default() })
    }

    /// The same on a network of this shape.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn of(shape: &Shape) -> Self {
        Self::by(shape, [Transport::Mixnet; 2])
    }

    /// The same, Alice and Bob by these transports.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn by(shape: &Shape, [ours, theirs]: [Transport; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Testnet::up(&folder.path().join("net"), shape).unwrap();
        let people = folder.path().join("people");
        let within = if network.tor().is_some() {
            network.wait_onions(LONG).unwrap();
            // After a first try over Tor that fails, arti waits for half a minute at least.
            LONG
        } else {
            SOON
        };
        let mut alice = Person::init_by(&people, "Alice", &network.network_file(), ours).unwrap();
        let mut bob = Person::init_by(&people, "Bob", &network.network_file(), theirs).unwrap();
        for person in [&mut alice, &mut bob] {
            person.start().unwrap();
            person.wait_connected(within).unwrap();
        }
        let link = alice.invite("bob").unwrap();
        bob.accept(&link, "alice", within).unwrap();
        alice.wait_contact("bob", LONG).unwrap();
        Self { folder, network: Some(network), alice, bob }
    }

    /// Waits until Bob has all of `expected`, and tells what both daemons know if he has not.
    ///
    /// # Panics
    /// If something is missing or came twice.
    pub fn bob_receives(&self, within: Duration, expected: &[String]) {
        let came = |lines: &[Value]| texts(lines).len() >= expected.len();
        match self.bob.wait_received(within, came) {
            Ok(received) => assert_once(&received, expected),
            Err(_) => {
                let counts = texts(&self.bob.received().unwrap_or_default());
                let missing: Vec<_> = expected.iter().filter(|text| !counts.contains_key(*text)).collect();
                let (alice, bob) = (self.alice.diagnosis(), self.bob.diagnosis());
                panic!("{missing:?} did not come within {within:?}\n{alice}\n{bob}");
            }
        }
    }

    /// Ends both daemons and looks through the logs of all processes for what the two stores know.
    ///
    /// # Panics
    /// If a log tells of it, or if there are fewer logs than processes.
    pub fn assert_silent_logs(&mut self) {
        let mut all = Vec::new();
        for person in [&mut self.alice, &mut self.bob] {
            person.stop().unwrap();
            all.extend(logs::private(&person.store().unwrap()).unwrap());
        }
        assert!(all.iter().any(|(what, _)| *what == "box_id") && all.len() > 100, "{} secrets", all.len());
        let files = logs::files(self.folder.path()).unwrap();
        assert!(files.len() > 10, "{files:?}");
        for file in files {
            let log = std::fs::read_to_string(&file).unwrap();
            assert_eq!(logs::told(&log, &all, logs::LONG), Vec::<String>::new(), "in {}", file.display());
        }
    }

    /// The network.
    ///
    /// # Panics
    /// Never: it is there until the scene is dropped.
    pub fn network(&self) -> &Testnet {
        self.network.as_ref().unwrap()
    }

    /// The network, to change it.
    ///
    /// # Panics
    /// Never: it is there until the scene is dropped.
    pub fn network_mut(&mut self) -> &mut Testnet {
        self.network.as_mut().unwrap()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.alice.kill();
        self.bob.kill();
        if let Some(network) = self.network.take() {
            // A failing test has said enough.
            let _ = network.down();
        }
    }
}

/// How often each text stands in these lines.
pub fn texts(lines: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in lines.iter().filter_map(|line| line["text"].as_str()) {
        *counts.entry(text.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Every one of `expected` came exactly once.
///
/// # Panics
/// If not.
pub fn assert_once(received: &[Value], expected: &[String]) {
    let counts = texts(received);
    let missing: Vec<_> = expected.iter().filter(|text| !counts.contains_key(*text)).collect();
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(missing.is_empty() && repeated.is_empty(), "missing {missing:?}, repeated {repeated:?}");
}
