//! From one engine to the other: all of it or nothing, wherever it is cut off.

use crate::support::{ENGINES, ack, as_child, child, held, id, open, put, tombstone, waiting};
use std::{
    io::{BufRead, BufReader},
    path::Path,
};
use veilpost_mailbox::{
    store::{BoxStore, Change, Series},
    stores::{
        self, EngineName, OpenError,
        migrate::{MigrateError, Step, migrate},
    },
};
use veilpost_packet::time::Day;

const BOXES: u64 = 700;

fn other(engine: EngineName) -> EngineName {
    ENGINES.into_iter().find(|one| *one != engine).unwrap()
}

fn fill(engine: EngineName, folder: &Path) {
    let mut store = open(engine, folder);
    let hold =
        |n| Change::Hold { id: id(n), held: held(n, Day(n as u32 % 3)), announce: Some(waiting(n, Day(n as u32 % 3))) };
    store.apply(&(0..BOXES).map(hold).collect::<Vec<_>>()).unwrap();
    store.apply(&[ack(5, Day(2)), Change::Record { series: Series::Note, number: 7, bytes: vec![7; 70] }]).unwrap();
    // A bucket without anything.
    store.apply(&[put(9_000, Day(50))]).unwrap();
    store.apply(&[Change::Drop { id: id(9_000), bucket: Day(50) }]).unwrap();
}

fn is_whole(engine: EngineName, folder: &Path) {
    let store = open(engine, folder);
    for n in (0..BOXES).filter(|n| *n != 5) {
        assert_eq!(store.get(&id(n)).unwrap(), Some(held(n, Day(n as u32 % 3))));
    }
    assert_eq!(store.get(&id(5)).unwrap(), Some(tombstone(5, Day(2))));
    assert_eq!((store.usage().boxes, store.usage().tombstones), (BOXES - 1, 1));
    assert_eq!(store.waiting(usize::MAX).unwrap().len() as u64, BOXES);
    assert_eq!(store.newest(Series::Note).unwrap(), Some((7, vec![7; 70])));
}

fn written_by(folder: &Path) -> EngineName {
    ENGINES.into_iter().find(|engine| stores::open(*engine, folder).is_ok()).expect("one of the engines opens it")
}

#[test]
fn a_store_moves_to_the_other_engine_and_back() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("boxes");
    fill(EngineName::Sled, &folder);
    for to in [EngineName::Redb, EngineName::Sled] {
        let mut steps = Vec::new();
        assert!(migrate(&folder, to, &mut |step| steps.push(step.clone())).unwrap());
        is_whole(to, &folder);
        let copied = steps.iter().filter(|step| matches!(step, Step::Copied { .. })).count();
        assert_eq!((copied, steps.len()), (5, 13));
        assert_eq!(steps[10..], [Step::Synced, Step::Swapped, Step::Removed]);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing is left beside the store");
        assert!(!migrate(&folder, to, &mut |_| {}).unwrap(), "and there is nothing more to do");
    }
}

#[test]
fn wherever_a_move_is_cut_off_the_store_is_whole_and_a_second_try_ends_it() {
    if let Some((engine, folder)) = as_child() {
        let mut left: u32 = std::env::var("VEILPOST_TEST_STEPS").unwrap().parse().unwrap();
        let _ = migrate(&folder, other(engine), &mut |_| match left.checked_sub(1) {
            Some(less) => left = less,
            None => std::process::abort(),
        });
        std::process::exit(0);
    }
    let name = "migrate::wherever_a_move_is_cut_off_the_store_is_whole_and_a_second_try_ends_it";
    for engine in ENGINES {
        for steps in [0, 1, 4, 5, 6, 9, 10, 11, 12] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("boxes");
            fill(engine, &folder);
            let mut child = child(name, engine, &folder, &format!("export VEILPOST_TEST_STEPS={steps};"));
            assert!(!child.wait().unwrap().success(), "it was cut off");
            let by = if steps >= 11 { other(engine) } else { engine };
            assert_eq!(written_by(&folder), by, "after {steps} steps");
            is_whole(by, &folder);
            assert_eq!(migrate(&folder, other(engine), &mut |_| {}).unwrap(), by == engine);
            is_whole(other(engine), &folder);
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing is left beside the store");
        }
    }
}

#[test]
fn a_move_that_is_killed_at_any_moment_leaves_a_whole_store() {
    if let Some((engine, folder)) = as_child() {
        println!("\nbegins");
        let _ = migrate(&folder, other(engine), &mut |_| {});
        std::process::exit(0);
    }
    let name = "migrate::a_move_that_is_killed_at_any_moment_leaves_a_whole_store";
    for engine in ENGINES {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("boxes");
        fill(engine, &folder);
        let mut by = engine;
        for moment in 0..12 {
            let mut child = child(name, by, &folder, "");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "begins"));
            std::thread::sleep(std::time::Duration::from_millis(6 * moment));
            child.kill().unwrap();
            child.wait().unwrap();
            by = written_by(&folder);
            is_whole(by, &folder);
        }
    }
}

#[test]
fn a_store_in_use_is_not_moved() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("boxes");
    let store = open(EngineName::Sled, &folder);
    for to in ENGINES {
        let refused = migrate(&folder, to, &mut |_| {});
        assert!(matches!(refused, Err(MigrateError::Open(OpenError::InUse(_)))));
    }
    drop(store);
}

#[test]
fn a_folder_without_a_store_is_not_moved_and_not_made() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("boxes");
    assert!(matches!(migrate(&folder, EngineName::Redb, &mut |_| {}), Err(MigrateError::NoStore(_))));
    assert!(!folder.exists());
}

#[test]
fn damage_is_not_carried_over() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("boxes");
    fill(EngineName::Redb, &folder);
    let file = folder.join("day-1");
    let mut bytes = std::fs::read(&file).unwrap();
    // Inside of a box: what it holds is found and spoilt.
    let body = held(1, Day(1));
    let veilpost_mailbox::store::Held::Box(kept) = body else { unreachable!() };
    let needle = &kept.sealed.ciphertext[500..532];
    let at = bytes.windows(32).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert!(matches!(migrate(&folder, EngineName::Sled, &mut |_| {}), Err(MigrateError::Store { .. })));
    assert_eq!(written_by(&folder), EngineName::Redb);
    assert!(open(EngineName::Redb, &folder).get(&id(1)).is_err());
}
