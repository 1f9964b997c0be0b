//! A disk without room: nothing is called stored that is not, and all goes on when there is room again.

use crate::support::{ENGINES, as_child, child, held, id, number, open, put};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Command,
};
use veilpost_mailbox::{
    store::{BoxStore, Change, StoreError},
    stores::{DiskStore, EngineName},
};
use veilpost_packet::time::Day;

fn put_and_say(store: &mut DiskStore, n: u64, day: Day) -> Result<(), StoreError> {
    store.apply(&[put(n, day)])?;
    println!("stored {n}");
    Ok(())
}

/// Puts until the disk is full, then shows that no failed attempt is read back as if it were stored.
fn fill(store: &mut DiskStore) -> u64 {
    println!();
    for n in 0.. {
        let Err(error) = put_and_say(store, n, Day(1)) else { continue };
        println!("error {error}");
        assert!(matches!(error, StoreError::DiskFull), "a full disk is told from a failed one: {error:?}");
        for again in [n, n + 1, n, n + 2, n] {
            // What is found after a failure comes from the disk.
            if let Ok(Some(_)) = store.get(&id(again)) {
                println!("stored {again}");
            }
            let _ = put_and_say(store, again, Day(1));
        }
        return n;
    }
    unreachable!()
}

/// The numbers that a child called stored, after which it says `end`.
fn told(child: &mut std::process::Child) -> (BTreeSet<u64>, bool) {
    let lines: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    child.wait().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("error ")), "the disk was full once: {lines:?}");
    (lines.iter().filter_map(|line| number(line, "stored ")).collect(), lines.iter().any(|line| line == "end"))
}

fn all_are_found(engine: EngineName, folder: &std::path::Path, stored: &BTreeSet<u64>) {
    let store = open(engine, folder);
    for n in stored {
        let found = store.get(&id(*n)).unwrap();
        assert!(found == Some(held(*n, Day(1))), "{engine}: box {n} was called stored");
    }
    let boxes = store.usage().boxes;
    assert!(boxes >= stored.len() as u64 && boxes <= stored.len() as u64 + 3);
    assert_eq!(store.walk(None, usize::MAX).unwrap().len() as u64, boxes);
}

#[test]
fn a_disk_that_takes_no_more_never_makes_a_box_stored() {
    if let Some((engine, folder)) = as_child() {
        fill(&mut open(engine, &folder));
        println!("end");
        // Not dropped: engines flush on drop, and a machine that lost its disk does not come to that.
        std::process::abort();
    }
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        // No file may grow beyond 3 MiB; the signal that would end the process is ignored, so that writes fail with an error.
        let name = "full_disk::a_disk_that_takes_no_more_never_makes_a_box_stored";
        let mut child = child(name, engine, folder.path(), "trap '' XFSZ; ulimit -f 6144;");
        let (stored, end) = told(&mut child);
        assert!(end && stored.len() > 50, "{engine}: {} boxes before the limit", stored.len());
        all_are_found(engine, folder.path(), &stored);
    }
}

#[test]
fn when_there_is_room_again_the_same_process_goes_on() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    if let Some((engine, folder)) = as_child() {
        let mut store = open(engine, &folder);
        let failed = fill(&mut store);
        let mut limit = getrlimit(Resource::Fsize);
        limit.current = limit.maximum;
        setrlimit(Resource::Fsize, limit).unwrap();
        for n in failed..failed + 50 {
            put_and_say(&mut store, n, Day(1)).unwrap();
        }
        println!("end");
        std::process::abort();
    }
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let name = "full_disk::when_there_is_room_again_the_same_process_goes_on";
        let mut child = child(name, engine, folder.path(), "trap '' XFSZ; ulimit -S -f 6144;");
        let (stored, end) = told(&mut child);
        assert!(end, "{engine}: went on to its end");
        all_are_found(engine, folder.path(), &stored);
    }
}

#[test]
fn a_small_disk_fills_up_and_an_expired_day_makes_room() {
    if let Some((engine, folder)) = as_child() {
        let mut store = open(engine, &folder);
        let early = (1_000_000..1_000_400).map(|n| put(n, Day(0))).collect::<Vec<Change>>();
        store.apply(&early).unwrap();
        let failed = fill(&mut store);
        assert_eq!(store.expire(Day(1)).unwrap(), 1);
        for n in failed..failed + 100 {
            put_and_say(&mut store, n, Day(1)).unwrap();
        }
        drop(store);
        let store = open(engine, &folder);
        assert!((0..failed + 100).all(|n| store.get(&id(n)).unwrap() == Some(held(n, Day(1)))));
        println!("end");
        std::process::exit(0);
    }
    let folder = tempfile::tempdir().unwrap();
    // A file system in memory, in a name space of its own that ends with the child: no root needed, where the kernel allows it.
    let mount = format!("mount -t tmpfs -o size=8m none '{}' &&", folder.path().display());
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", &format!("{mount} true")]).output().unwrap();
    assert!(allowed.status.success(), "this test mounts a small file system in a name space of its own: {allowed:?}");
    for engine in ENGINES {
        let name = "full_disk::a_small_disk_fills_up_and_an_expired_day_makes_room";
        let before = format!(
            "[ -n \"$INSIDE\" ] || INSIDE=1 exec unshare -rm sh -c \"{mount} exec $0 --exact {name} --nocapture\";"
        );
        let mut child = child(name, engine, folder.path(), &before);
        let (stored, end) = told(&mut child);
        assert!(end && stored.len() > 100, "{engine}: {} boxes", stored.len());
    }
}
