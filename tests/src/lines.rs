//! Four people on a real network, two of whom are busy, and somebody who watches their lines: what E14 compares, from real sockets.

use crate::{
    observer::{Observer, Watched, now_ns},
    person::Person,
    scene::{LONG, SOON},
    testnet::{Result, Shape, Testnet},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use veilpost_lab::capture::{Capture, Mark};

/// From one text to the next.
const TEXTS: Duration = Duration::from_secs(6);
/// Bytes of the file that is sent.
const FILE: usize = 60 << 10;

/// Runs a fast network in this folder for so long and takes it down again. In the capture the four are called `writes`, `receives`,
/// `idle 1` and `idle 2`; each
/// text that `writes` hands to its daemon is marked `message`.
///
/// # Errors
/// If the network does not come up, or this process may not read raw packets.
pub fn capture(folder: &Path, watch: Duration) -> Result<Capture> {
    // A connection is young for a second here, not for two minutes: young ones have fast downlinks.
    let params = vec![("catch_up".to_owned(), 1_000)];
    let network = Testnet::up(&folder.join("net"), &Shape { fast: true, params, ..Shape::default() })?;
    let seen = people(folder, &network).and_then(|people| watched(folder, &network, &people, watch));
    network.down()?;
    seen
}

/// Who writes, who receives, and two who do nothing.
fn people(folder: &Path, network: &Testnet) -> Result<[Person; 4]> {
    let new = |name: &str| -> Result<Person> {
        let mut person = Person::init(&folder.join("people"), name, &network.network_file())?;
        person.start()?;
        person.wait_connected(SOON)?;
        Ok(person)
    };
    let people = [new("Alice")?, new("Bob")?, new("Carol")?, new("Dave")?];
    let [alice, bob, ..] = &people;
    bob.accept(&alice.invite("bob")?, "alice", SOON)?;
    alice.wait_contact("bob", LONG)?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(people)
}

fn watched(folder: &Path, network: &Testnet, people: &[Person; 4], watch: Duration) -> Result<Capture> {
    let names = ["writes", "receives", "idle 1", "idle 2"];
    let pid = |person: &Person| person.pid().ok_or("a client has ended");
    let watched = people.iter().zip(names).map(|(person, name)| Ok(Watched { name: name.into(), pid: pid(person)? }));
    let observer = Observer::start(network, watched.collect::<Result<_>>()?)?;
    let begun = Instant::now();
    let [alice, bob, ..] = people;
    let file = folder.join("picture.bin");
    std::fs::write(&file, vec![7; FILE])?;
    alice.json(&["send", "bob", "--file", file.to_str().ok_or("the folder's name is no text")?])?;
    let mut texts = Vec::new();
    for number in 0.. {
        texts.extend(now_ns());
        alice.json(&["send", "bob", &format!("text {number}")])?;
        std::thread::sleep(TEXTS.min(watch.saturating_sub(begun.elapsed())));
        if begun.elapsed() >= watch {
            break;
        }
    }
    let mut seen = observer.finish()?;
    if let Some(endpoint) = seen.endpoint("writes") {
        let mark = |time_ns| Mark { time_ns, endpoint, what: "message".into() };
        seen.header.marks = texts.into_iter().map(mark).collect();
    }
    if bob.received()?.is_empty() { Err("nothing came: nobody was busy".into()) } else { Ok(seen) }
}
