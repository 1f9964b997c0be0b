//! The power fails: what was acknowledged is on the disk, not only on its way there.
//!
//! The store lies on an ext4 file system of its own in a file. A copy of that file, taken while the writer stands still, holds what
//! a disk would hold if the power failed at that moment: what the file system has not written itself is not in it. Its journal is
//! played back when the copy is mounted, as after a real failure.

use crate::support::{ENGINES, as_child, child, held, id, number, open, put};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
};
use veilpost_mailbox::store::BoxStore;
use veilpost_packet::time::Day;

/// Boxes of one batch.
const BATCH: u64 = 4;
/// Batches before the power fails, each time on the store of the time before.
const BATCHES: [u64; 4] = [1, 5, 60, 200];

fn day(n: u64) -> Day {
    Day(10 + n as u32 % 3)
}

/// A file system in a file, mounted until dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Self {
        // The file system writes nothing by itself for five minutes: only what is asked for is on the disk.
        run(Command::new("mount").args(["-o", "loop,commit=300"]).args([image, at]));
        Self(at.into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "this test mounts file systems in files, as root: {command:?}: {done:?}");
}

#[test]
fn what_was_acknowledged_before_the_power_failed_is_there() {
    if let Some((engine, folder)) = as_child() {
        let mut store = open(engine, &folder);
        println!();
        for batch in store.usage().boxes / BATCH.. {
            let boxes: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(|n| put(n, day(n))).collect();
            store.apply(&boxes).unwrap();
            println!("stored {batch}");
        }
    }
    let name = "power_cut::what_was_acknowledged_before_the_power_failed_is_there";
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let (disk, after, at) = (folder.path().join("disk"), folder.path().join("after"), folder.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        run(Command::new("truncate").args(["-s", "96M"]).arg(&disk));
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk));
        let mut done = 0;
        for more in BATCHES {
            let mounted = Mounted::new(&disk, &at);
            let mut child = child(name, engine, &at.join("store"), "");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let enough = done + more;
            while done < enough {
                let line = lines.next().expect("the child writes for ever").unwrap();
                done = number(&line, "stored ").map_or(done, |batch| batch + 1);
            }
            // Still, so that the copy is of one moment.
            kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
            run(Command::new("cp").args(["--sparse=always"]).args([&disk, &after]));
            child.kill().unwrap();
            child.wait().unwrap();
            for line in lines.map_while(Result::ok) {
                done = number(&line, "stored ").map_or(done, |batch| batch + 1);
            }
            drop(mounted);
            std::fs::rename(&after, &disk).unwrap();
            let _mounted = Mounted::new(&disk, &at);
            let store = open(engine, &at.join("store"));
            let lost: Vec<_> =
                (0..done * BATCH).filter(|n| store.get(&id(*n)).unwrap() != Some(held(*n, day(*n)))).collect();
            assert_eq!(lost, [0; 0], "{engine}: boxes lost of {done} batches");
        }
    }
}
