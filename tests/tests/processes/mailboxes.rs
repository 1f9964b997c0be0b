//! Real mailboxes that die, hang and run out of disk while people write to each other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use veilpost_tests::{
    scene::{LONG, Scene, alone, assert_once, texts},
    testnet::{Shape, program},
};

const MAILBOXES: [&str; 4] = ["mailbox-1", "mailbox-2", "mailbox-3", "mailbox-4"];
/// Two hundred texts and a file at three Puts a second, and time to recover.
const VERY_LONG: Duration = Duration::from_secs(900);

/// With clients that send and fetch three times as often as on other fast networks: there is much to send.
fn scene() -> Scene {
    let params =
        [("send_gap", 80), ("get_gap", 120), ("downlink_gap", 35)].map(|(name, value)| (name.to_owned(), value));
    Scene::of(&Shape { fast: true, mailboxes: MAILBOXES.len(), params: params.to_vec(), ..Shape::default() })
}

/// One mailbox at a time dies by kill -9 or hangs by a stop signal, until everything has come.
#[test]
fn two_hundred_messages_and_a_file_arrive_once_while_mailboxes_die_and_hang_every_few_seconds() {
    let _alone = alone();
    let scene = scene();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(200);
    let bytes: Vec<u8> = (0..1 << 18).flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    assert_eq!(bytes.len(), 1 << 20);
    let file = scene.folder.path().join("film.bin");
    std::fs::write(&file, &bytes).unwrap();
    scene.alice.json(&["send", "bob", "--file", file.to_str().unwrap()]).unwrap();
    let expected: Vec<_> = (0..200).map(|number| format!("message {number}")).collect();
    for text in &expected {
        scene.alice.json(&["send", "bob", text]).unwrap();
    }
    let (begun, mut faults) = (Instant::now(), 0);
    let came = |lines: &[Value]| {
        let whole = lines.iter().any(|line| line["kind"] == "file" && line["state"] == "received");
        whole && texts(lines).len() >= expected.len()
    };
    while !came(&scene.bob.received().unwrap()) {
        assert!(
            begun.elapsed() < VERY_LONG,
            "{} of {} texts after {faults} faults\n{}\n{}",
            texts(&scene.bob.received().unwrap()).len(),
            expected.len(),
            scene.alice.diagnosis(),
            scene.bob.diagnosis()
        );
        let victim = MAILBOXES[rng.random_range(0..MAILBOXES.len())];
        let down = Duration::from_millis(rng.random_range(500..5_000));
        faults += 1;
        if rng.random_bool(0.5) {
            scene.network().kill(victim, Signal::KILL).unwrap();
            std::thread::sleep(down);
            scene.network().start(victim).unwrap();
        } else {
            scene.network().kill(victim, Signal::STOP).unwrap();
            std::thread::sleep(down);
            scene.network().kill(victim, Signal::CONT).unwrap();
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(1_000..4_000)));
    }
    assert!(faults >= 10, "it was over after {faults} faults");
    for mailbox in MAILBOXES {
        let config = scene.folder.path().join("net").join(mailbox).join("config.toml");
        let said = Command::new(program("veilpost-mailbox").unwrap())
            .args(["status", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && words.contains(" boxes, "), "{mailbox}: {said:?}");
    }
    assert_once(&texts_alone(&scene.bob.received().unwrap()), &expected);
    let saved = scene.folder.path().join("saved");
    let inbox = scene.bob.json(&["inbox", "--save", saved.to_str().unwrap()]).unwrap();
    let path = inbox.iter().find_map(|line| line["path"].as_str()).expect("the file's path");
    assert_eq!(std::fs::read(path).unwrap(), bytes);
}

fn texts_alone(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line["kind"] == "text").cloned().collect()
}

/// A small file system in memory, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).output().unwrap();
        assert!(mounted.status.success(), "this test mounts a small file system, as root: {mounted:?}");
        Self(at.into())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_mailbox_without_disk_space_says_so_loses_nothing_and_goes_on_when_there_is_space() {
    let _alone = alone();
    let scene = scene();
    let before: Vec<_> = (0..5).map(|number| format!("before {number}")).collect();
    for text in &before {
        scene.alice.json(&["send", "bob", text, "--wait", "stored", "--timeout", "240"]).unwrap();
    }
    let place = scene.folder.path().join("net/mailbox-1");
    scene.network().kill("mailbox-1", Signal::TERM).unwrap();
    let config = std::fs::read_to_string(place.join("config.toml")).unwrap();
    // The floor would keep the disk from ever being full.
    let config = config.replace("free_disk_floor_mib = 16", "free_disk_floor_mib = 0");
    std::fs::write(place.join("config.toml"), config).unwrap();
    let kept = place.join("kept");
    std::fs::rename(place.join("data"), &kept).unwrap();
    std::fs::create_dir(place.join("data")).unwrap();
    let _disk = SmallDisk::mount(&place.join("data"));
    assert!(Command::new("cp").arg("-a").arg(kept.join(".")).arg(place.join("data")).status().unwrap().success());
    scene.network().start("mailbox-1").unwrap();
    let filler = place.join("data/filler");
    // Writes until there is no space: cp says so and leaves what fits.
    let _ = Command::new("cp").arg("/dev/zero").arg(&filler).output();
    let during: Vec<_> = (0..20).map(|number| format!("during {number}")).collect();
    for text in &during {
        scene.alice.json(&["send", "bob", text]).unwrap();
    }
    scene.bob_receives(2 * LONG, &[before.clone(), during.clone()].concat());
    let log = std::fs::read_to_string(place.join("log")).unwrap();
    // By whatever it wanted to write first: boxes, or the next epoch's document, without which it takes no boxes.
    let told = ["disk is full", "No space left on device"].iter().any(|words| log.contains(words));
    assert!(told, "what is wrong stands in the log:\n{log}");
    assert!(!log.contains("panicked"), "{log}");

    std::fs::remove_file(&filler).unwrap();
    // Its tag log is written again, so it takes part again: by itself, or once it is started.
    if scene.network().start("mailbox-1").is_err() {
        scene.network().kill("mailbox-1", Signal::TERM).unwrap();
        scene.network().start("mailbox-1").unwrap();
    }
    let after: Vec<_> = (0..5).map(|number| format!("after {number}")).collect();
    for text in &after {
        scene.alice.json(&["send", "bob", text, "--wait", "stored", "--timeout", "240"]).unwrap();
    }
    scene.bob_receives(2 * LONG, &[before, during, after].concat());
    // Whatever was written to others meanwhile comes back to it.
    let deadline = Instant::now() + LONG;
    while scene.network().metric("mailbox-1", "veilpost_mailbox_boxes").unwrap() == 0.0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_secs(1));
    }
}
