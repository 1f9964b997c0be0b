//! Real processes: authorities that are killed, that disagree with a node's being there, that hand over; and the network in
//! between, on which people go on writing to each other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use rustix::process::Signal;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use veilpost_daemon::clock::Clock;
use veilpost_packet::time::Epoch;
use veilpost_pki::{NetworkFile, Schedule, schedule::Phase};
use veilpost_tests::{
    scene::{LONG, Scene, alone},
    testnet::{Kind, Result, Shape, Testnet, program},
};

/// Short epochs: a round takes six seconds of them.
const EPOCH: Duration = Duration::from_secs(16);

fn scene(authorities: usize) -> Scene {
    Scene::of(&Shape {
        fast: true,
        epoch: Some(EPOCH),
        authorities,
        width: 1,
        entries: 1,
        mailboxes: 2,
        ..Shape::default()
    })
}

fn schedule(network: &Testnet) -> Schedule {
    NetworkFile::parse(&std::fs::read_to_string(network.network_file()).unwrap()).unwrap().schedule
}

/// Sleeps until a phase of the round for an epoch has begun. Returns at once if it is over.
fn sleep_until(schedule: &Schedule, epoch: u64, phase: Phase) {
    let moment = schedule.phase_start(Epoch(epoch), phase, 1) + schedule.phase() / 2;
    std::thread::sleep(Clock::start().until(moment));
}

fn newest(network: &Testnet, name: &str) -> u64 {
    network.status_of(name).ok().and_then(|status| status["document"]["epoch"].as_u64()).unwrap_or(0)
}

/// Waits until an authority has the document of an epoch.
fn wait_document(network: &Testnet, name: &str, epoch: u64) {
    let here = network.wait_until(EPOCH * 3, || newest(network, name) >= epoch);
    assert!(here, "{name} has no document of epoch {epoch}: {}", network.status_of(name).unwrap_or_default());
}

fn warnings(status: &[Value]) -> String {
    status.first().map(|status| status["warnings"].to_string()).unwrap_or_default()
}

#[test]
fn an_authority_killed_in_each_phase_stops_nothing_and_messages_flow() {
    let _alone = alone();
    let scene = scene(4);
    let network = scene.network();
    let schedule = schedule(network);
    let phases = [
        Phase::Descriptors,
        Phase::Vote,
        Phase::Certify(1),
        Phase::Reveal,
        Phase::Confirm(1),
        Phase::Signature,
        Phase::Publish,
    ];
    let first = schedule.target_at(Clock::start().now()).0 + 1;
    let mut expected = Vec::new();
    for (number, phase) in phases.into_iter().enumerate() {
        let epoch = first + number as u64;
        let victim = format!("authority-{}", 1 + number % 4);
        sleep_until(&schedule, epoch, phase);
        network.kill(&victim, Signal::KILL).unwrap();
        let text = format!("while {victim} is down in epoch {epoch}");
        scene.alice.json(&["send", "bob", &text]).unwrap();
        expected.push(text);
        let other = format!("authority-{}", 1 + (number + 1) % 4);
        wait_document(network, &other, epoch);
        network.start(&victim).unwrap();
    }
    let last = first + phases.len() as u64;
    for number in 1..=4 {
        wait_document(network, &format!("authority-{number}"), last);
        let status = network.status_of(&format!("authority-{number}")).unwrap();
        assert_eq!(status["liars"], serde_json::json!([]), "nobody said two things");
    }
    scene.bob_receives(LONG, &expected);
}

#[test]
fn with_two_of_four_authorities_gone_the_old_document_holds_is_said_so_and_the_network_heals() {
    let _alone = alone();
    let scene = scene(4);
    let network = scene.network();
    for name in ["authority-1", "authority-2"] {
        network.kill(name, Signal::KILL).unwrap();
    }
    let stale = || {
        let status = network.status_of("authority-3").unwrap_or_default();
        status["warnings"].to_string().contains("runs on the document of epoch")
    };
    assert!(network.wait_until(EPOCH * 4, stale), "{:?}", network.status_of("authority-3"));
    let told = || warnings(&scene.alice.json(&["status"]).unwrap()).contains("old document");
    assert!(network.wait_until(EPOCH * 2, told), "{:?}", scene.alice.json(&["status"]));
    let expected = ["on an old document".to_owned()];
    scene.alice.json(&["send", "bob", &expected[0]]).unwrap();
    scene.bob_receives(LONG, &expected);
    for name in ["authority-1", "authority-2"] {
        network.start(name).unwrap();
    }
    let healed = || !stale() && !told();
    assert!(network.wait_until(EPOCH * 4, healed), "{:?}", network.status_of("authority-3"));
    scene.alice.json(&["send", "bob", "and on a new one"]).unwrap();
    scene.bob_receives(LONG, &["on an old document".to_owned(), "and on a new one".to_owned()]);
}

#[test]
fn nodes_come_and_go_while_the_network_runs() {
    let _alone = alone();
    let mut scene = scene(7);
    let network = scene.network_mut();
    let mix = network.add(Kind::Mix).unwrap();
    let entry = network.add(Kind::Entry).unwrap();
    let mailbox = network.add(Kind::Mailbox).unwrap();
    assert_eq!((mix.as_str(), entry.as_str(), mailbox.as_str()), ("mix-4", "entry-2", "mailbox-3"));
    assert!(network.metric(&mix, "veilpost_mixnode_relaying").unwrap() > 0.0);
    let epoch = |network: &Testnet| schedule(network).epoch_at(Clock::start().now()).0;
    let before = epoch(network);
    network.remove(&mix).unwrap();
    let after = epoch(network);
    assert!(after <= before + 2, "in epoch {after} it was gone, unlisted in {before}");
    assert!(network.remove("authority-1").is_err());
    // The entry that both people use goes; they have another guard by now, or find one.
    network.remove("entry-1").unwrap();
    let expected: Vec<_> = (0..3).map(|number| format!("through another entry, {number}")).collect();
    for text in &expected {
        scene.alice.json(&["send", "bob", text]).unwrap();
    }
    scene.bob_receives(LONG, &expected);
}

/// The authority's own program, for what an operator does.
fn directory(arguments: &[&str]) -> String {
    let output = Command::new(program("veilpost-directory").unwrap()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A fifth authority, started by hand. Killed if the test fails.
struct Fifth(Child);

impl Drop for Fifth {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a fifth authority that all others know how to reach. Returns its id and configuration.
fn make_fifth(folder: &Path) -> Result<(String, PathBuf)> {
    let place = folder.join("authority-5");
    std::fs::create_dir_all(&place)?;
    let ports: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let config = place.join("config.toml");
    let text = format!(
        "data_dir = \"data\"\nlisten = \"{}\"\nhttp = \"{}\"\nnetwork = \"../network.toml\"\nnodes = \"../nodes.toml\"\n\
         handovers = \"../handovers\"\n[params]\nspeed = 8\nhurry = 24\nplacement_notice = 2\n",
        ports[0].local_addr()?,
        ports[1].local_addr()?
    );
    std::fs::write(&config, text)?;
    let printed = directory(&["init", "--config", config.to_str().unwrap()]);
    let id = printed.lines().next().and_then(|line| line.strip_prefix("authority ")).unwrap().to_owned();
    let block = std::fs::read_to_string(place.join("data/authority.toml"))?;
    let mut network = std::fs::read_to_string(folder.join("network.toml"))?;
    network.push_str(&block.replace("[[authority]]", "\n[[later_authority]]"));
    std::fs::write(folder.join("network.toml"), network)?;
    Ok((id, config))
}

#[test]
fn an_authority_hands_over_to_a_new_key_and_nodes_and_clients_follow() {
    let _alone = alone();
    let scene = scene(4);
    let network = scene.network();
    let folder = scene.folder.path().join("net");
    let (fifth, config) = make_fifth(&folder).unwrap();
    // The others learn where the new one is, one after the other, without missing a round.
    for number in 1..=4 {
        network.kill(&format!("authority-{number}"), Signal::TERM).unwrap();
        network.start(&format!("authority-{number}")).unwrap();
    }
    let running = Command::new(program("veilpost-directory").unwrap())
        .args(["run", "--config", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _fifth = Fifth(running);

    let file = NetworkFile::parse(&std::fs::read_to_string(network.network_file()).unwrap()).unwrap();
    let stay: Vec<String> = file.authorities.iter().skip(1).map(|authority| authority.id.to_string()).collect();
    let from = file.schedule.epoch_at(Clock::start().now()).0 + 3;
    let next = folder.join("next");
    let mut propose = vec!["propose-handover", "--faulty", "1", "--authority", &fifth];
    stay.iter().for_each(|id| propose.extend(["--authority", id]));
    let from_text = from.to_string();
    propose.extend(["--from-epoch", &from_text, "--out", next.to_str().unwrap()]);
    directory(&propose);
    let mut copies = Vec::new();
    for number in 1..=3 {
        let copy = folder.join(format!("next-{number}"));
        std::fs::copy(&next, &copy).unwrap();
        let config = folder.join(format!("authority-{number}/config.toml"));
        let said =
            directory(&["sign-handover", "--config", config.to_str().unwrap(), "--handover", copy.to_str().unwrap()]);
        assert!(said.starts_with("1 of the authorities"), "{said}");
        copies.push(copy);
    }
    std::fs::create_dir_all(folder.join("handovers")).unwrap();
    let (merged, place) = (folder.join("merged"), folder.join("handovers/1"));
    let mut merge = vec!["merge-handovers", "--out", merged.to_str().unwrap()];
    merge.extend(copies.iter().map(|copy| copy.to_str().unwrap()));
    directory(&merge);
    std::fs::rename(&merged, &place).unwrap();

    // Once the new ones decide, the one that left may go; and one of the old ones may fail.
    wait_document(network, "authority-2", from);
    network.kill("authority-1", Signal::TERM).unwrap();
    wait_document(network, "authority-2", from + 2);
    network.kill("authority-4", Signal::KILL).unwrap();
    let newest_now = newest(network, "authority-2");
    wait_document(network, "authority-2", newest_now + 2);
    let status = network.status_of("authority-2").unwrap();
    assert_eq!(status["liars"], serde_json::json!([]));
    network.wait_relaying(EPOCH * 2).unwrap();
    let expected = ["under new authorities".to_owned()];
    scene.alice.json(&["send", "bob", &expected[0]]).unwrap();
    scene.bob_receives(LONG, &expected);
    let epoch = scene.alice.json(&["status"]).unwrap()[0]["epoch"].as_u64().unwrap();
    assert!(epoch >= from, "the client follows");
}
