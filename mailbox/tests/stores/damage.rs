//! Files that are not what was written: torn, cut, rotten. They open or say that they are damaged; nobody gets other bytes.

use crate::support::{ENGINES, held, id, open, put, waiting};
use std::{
    fs,
    path::{Path, PathBuf},
};
use veilpost_mailbox::{
    store::{BoxStore, Change, Series},
    stores::{self, EngineName, OpenError},
};
use veilpost_packet::time::Day;

const BOXES: u64 = 150;

fn fill(engine: EngineName, folder: &Path) {
    let mut store = open(engine, folder);
    for n in 0..BOXES {
        let announce = Some(waiting(n, Day(1)));
        let hold = Change::Hold { id: id(n), held: held(n, Day(1)), announce };
        let record = Change::Record { series: Series::Digest, number: n as u32, bytes: vec![n as u8; 900] };
        store.apply(&[hold, record]).unwrap();
    }
}

/// The one large file of a database.
fn file(folder: &Path, database: &str) -> PathBuf {
    let place = folder.join(database);
    if place.is_dir() { place.join("db") } else { place }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// True if it opened.
fn right_or_nothing(engine: EngineName, folder: &Path, what: &str) -> bool {
    let store = match stores::open(engine, folder) {
        Ok(store) => store,
        Err(error @ OpenError::Store { .. }) => {
            assert!(error.to_string().contains("restore the store from a copy"));
            return false;
        }
        Err(error) => panic!("{engine}, {what}: {error}"),
    };
    for n in 0..BOXES {
        if let Ok(Some(found)) = store.get(&id(n)) {
            assert!(found == held(n, Day(1)), "{engine}, {what}: box {n} has other bytes");
        }
    }
    for (n, bytes) in store.records(Series::Digest, 0, usize::MAX).unwrap_or_default() {
        assert!(bytes == vec![n as u8; 900], "{engine}, {what}: record {n} has other bytes");
    }
    for walked in store.walk(None, usize::MAX).unwrap_or_default() {
        assert!((0..BOXES).any(|n| id(n) == walked.at.id), "{engine}, {what}: an id that nobody wrote");
    }
    for waits in store.waiting(usize::MAX).unwrap_or_default() {
        assert!((0..BOXES).any(|n| waiting(n, Day(1)) == waits), "{engine}, {what}: a tag that nobody wrote");
    }
    true
}

fn every_damage(of: EngineName, database: &str) -> usize {
    let whole = tempfile::tempdir().unwrap();
    fill(of, whole.path());
    let bytes = fs::read(file(whole.path(), database)).unwrap();
    let length = bytes.len();
    let mut opened = 0;
    let mut look = |what: &str, spoilt: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        fs::write(file(folder.path(), database), spoilt).unwrap();
        opened += usize::from(right_or_nothing(of, folder.path(), what));
    };
    for less in [1, 100, 4_096, 5_000, length / 3, length / 2, length - 100, length] {
        look(&format!("cut by {less}"), &bytes[..length - less]);
    }
    for (count, byte) in [(1, 0), (100, 0xaa), (4_096, 0xff), (600_000, 0x17)] {
        look(&format!("{count} bytes behind the end"), &[&bytes[..], &vec![byte; count]].concat());
    }
    for part in 0..24 {
        let at = length / 24 * part;
        let mut torn = bytes.clone();
        torn[at..(at + 512).min(length)].fill(0x5a);
        look(&format!("512 other bytes at {at}"), &torn);
        let mut rotten = bytes.clone();
        rotten[at + 77] ^= 0x10;
        look(&format!("a bit at {}", at + 77), &rotten);
    }
    opened
}

#[test]
fn damaged_boxes_are_never_handed_out() {
    for engine in ENGINES {
        assert!(every_damage(engine, "day-1") > 0, "{engine}: some damage is outlived");
    }
}

#[test]
fn damaged_records_are_never_handed_out() {
    for engine in ENGINES {
        every_damage(engine, "main");
    }
}

#[test]
fn without_its_damaged_database_a_store_opens_again() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        fill(engine, folder.path());
        open(engine, folder.path()).apply(&[put(500, Day(2))]).unwrap();
        fs::write(file(folder.path(), "day-1"), b"no database").unwrap();
        if let Err(error) = stores::open(engine, folder.path()) {
            assert!(error.to_string().contains("day-1"), "{error}");
        }
        let _ = fs::remove_dir_all(folder.path().join("day-1"));
        let _ = fs::remove_file(folder.path().join("day-1"));
        assert_eq!(open(engine, folder.path()).usage().boxes, 1);
    }
}
