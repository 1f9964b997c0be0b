//! What sled must not lose or claim: a killed process, a disk without room, a reopened folder.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]
#![cfg(unix)]

mod common;

use common::{Rig, is_stored, mail};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use veilpost_mailbox::{sled_store::SledStore, store::BoxStore};
use veilpost_packet::command::Answer;

const FOLDER: &str = "VEILPOST_TEST_FOLDER";

/// Runs one test of this binary again, as a child whose store is in `folder`. `before` are words of the shell.
fn child(test: &str, folder: &Path, before: &str) -> Child {
    let binary = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --exact {test} --nocapture --test-threads 1")])
        .arg(binary)
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Numbers of the boxes that a child said are stored.
fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("stored ")?.parse().ok()
}

fn open(folder: &Path) -> Rig<SledStore> {
    Rig::new(SledStore::open(folder).unwrap())
}

/// Puts boxes from `first` on and says which are stored, until something fails; gives the number that failed.
fn put_and_say(rig: &mut Rig<SledStore>, first: u64) -> u64 {
    // The harness has written the test's name without a line break.
    println!();
    for n in first.. {
        let sealed = mail(n).sealed;
        if !is_stored(&rig.put(&sealed), &sealed) {
            return n;
        }
        println!("stored {n}");
    }
    u64::MAX
}

fn all_are_found(folder: &Path, stored: &BTreeSet<u64>) {
    let mut rig = open(folder);
    for n in stored {
        let sealed = mail(*n).sealed;
        assert!(rig.get(sealed.id) == Answer::Found(Box::new(sealed)), "box {n} was called stored and is not here");
    }
    let tags: BTreeSet<_> = rig.tags().into_iter().collect();
    assert!(stored.iter().all(|n| tags.contains(&mail(*n).tag())), "and it is announced");
    let usage = rig.engine().usage();
    assert!(usage.boxes >= stored.len() as u64 && usage.boxes <= stored.len() as u64 + 1);
}

#[test]
fn a_process_that_is_killed_while_it_stores_loses_nothing_that_it_acknowledged() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        put_and_say(&mut open(Path::new(&folder)), 0);
        return;
    }
    for kill_after in [1, 20, 150] {
        let folder = tempfile::tempdir().unwrap();
        let name = "a_process_that_is_killed_while_it_stores_loses_nothing_that_it_acknowledged";
        let mut child = child(name, folder.path(), "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stored = BTreeSet::new();
        while stored.len() < kill_after {
            stored.extend(acknowledged(&lines.next().expect("the child stores for ever").unwrap()));
        }
        child.kill().unwrap();
        stored.extend(lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)));
        child.wait().unwrap();
        all_are_found(folder.path(), &stored);
    }
}

#[test]
fn a_disk_that_takes_no_more_never_makes_a_box_stored() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let mut rig = open(Path::new(&folder));
        let failed = put_and_say(&mut rig, 0);
        // A failed attempt must leave nothing behind that a repeat would take for a stored box.
        for n in [failed, failed + 1, failed, failed + 2, failed] {
            let sealed = mail(n).sealed;
            if is_stored(&rig.put(&sealed), &sealed) {
                println!("stored {n}");
            }
        }
        println!("failed {failed}");
        // Not dropped: sled flushes on drop, and a machine that lost its disk does not come to that.
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    // No file may grow beyond 3 MiB; the signal that would end the process is ignored, so that writes fail with an error.
    let mut child =
        child("a_disk_that_takes_no_more_never_makes_a_box_stored", folder.path(), "trap '' XFSZ; ulimit -f 6144;");
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<_> = output.map_while(Result::ok).collect();
    child.wait().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("failed ")), "the limit was reached");
    let stored: BTreeSet<_> = lines.iter().filter_map(|line| acknowledged(line)).collect();
    assert!(stored.len() > 50, "only {} boxes before the limit", stored.len());
    let mut rig = open(folder.path());
    for n in stored {
        let sealed = mail(n).sealed;
        assert!(rig.get(sealed.id) == Answer::Found(Box::new(sealed)), "box {n} was called stored and is not here");
    }
}

#[test]
fn a_reopened_folder_holds_boxes_tombstones_waiting_tags_and_digests() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    (0..4).for_each(|n| drop(rig.put(&mail(n).sealed)));
    let published = rig.tick().unwrap().unwrap();
    rig.put(&mail(4).sealed);
    rig.ack(&mail(0), true);
    let usage = rig.engine().usage();
    drop(rig);

    let mut rig = open(folder.path());
    rig.now = rig.now + rig.params.tick * 10;
    assert_eq!(rig.engine().usage(), usage);
    assert_eq!(rig.get(mail(0).sealed.id), Answer::Gone);
    assert!(matches!(rig.get(mail(4).sealed.id), Answer::Found(_)));
    let next = rig.tick().unwrap().unwrap();
    assert_eq!((next.digest().previous, &next.digest().tags[..]), (published.hash(), &[mail(4).tag()][..]));
    drop(rig);
    let store = SledStore::open(folder.path()).unwrap();
    assert_eq!(store.newest_digest().unwrap().unwrap(), next.as_bytes());
}
