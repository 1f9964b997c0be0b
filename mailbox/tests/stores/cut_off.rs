//! What a crash leaves half made or half removed, and folders that are no store of ours.

use crate::support::{ENGINES, held, id, open, put};
use std::fs;
use veilpost_mailbox::{
    store::{BoxStore, Change, Series},
    stores::{self, EngineName, OpenError},
};
use veilpost_packet::time::Day;

#[test]
fn half_made_and_half_removed_buckets_are_cleared_away() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        open(engine, folder.path()).apply(&[put(1, Day(1))]).unwrap();
        // Cut off at the making of one bucket and the removing of another; one of each is a folder, one a file.
        fs::create_dir(folder.path().join("new-day-5")).unwrap();
        fs::write(folder.path().join("new-day-5/conf"), b"ha").unwrap();
        fs::write(folder.path().join("new-day-6"), b"redb").unwrap();
        fs::create_dir(folder.path().join("old-day-0")).unwrap();
        fs::write(folder.path().join("old-day-7"), b"").unwrap();
        let mut store = open(engine, folder.path());
        assert_eq!(store.get(&id(1)).unwrap(), Some(held(1, Day(1))));
        store.apply(&[put(2, Day(5))]).unwrap();
        drop(store);
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["day-1", "day-5", "engine", "lock", "main"]);
    }
}

#[test]
fn a_store_that_was_never_finished_is_made_anew() {
    for engine in ENGINES {
        for cut in ["new-engine", "new-main"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(cut), b"ve").unwrap();
            fs::write(folder.path().join("lock"), b"").unwrap();
            open(engine, folder.path()).apply(&[put(1, Day(1))]).unwrap();
        }
        // The engine's name is written first, the main database after it.
        let folder = tempfile::tempdir().unwrap();
        drop(open(engine, folder.path()));
        let _ = fs::remove_dir_all(folder.path().join("main")).or_else(|_| fs::remove_file(folder.path().join("main")));
        open(engine, folder.path()).apply(&[put(1, Day(1))]).unwrap();
        // But not when there are boxes already.
        let _ = fs::remove_dir_all(folder.path().join("main")).or_else(|_| fs::remove_file(folder.path().join("main")));
        assert!(matches!(stores::open(engine, folder.path()), Err(OpenError::Store { .. })));
    }
}

#[test]
fn sled_opens_although_it_was_cut_off_while_it_wrote_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    open(EngineName::Sled, folder.path()).apply(&[put(1, Day(1))]).unwrap();
    // sled 0.34 takes this for its newest snapshot, unless somebody clears it away.
    fs::write(folder.path().join("day-1/snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    assert_eq!(open(EngineName::Sled, folder.path()).get(&id(1)).unwrap(), Some(held(1, Day(1))));
}

#[test]
fn a_store_of_one_engine_is_not_opened_with_another() {
    for (wrote, asks) in [(EngineName::Sled, EngineName::Redb), (EngineName::Redb, EngineName::Sled)] {
        let folder = tempfile::tempdir().unwrap();
        drop(open(wrote, folder.path()));
        let error = stores::open(asks, folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("veilpost-mailbox migrate-store --config FILE --to {asks}")), "{error}");
        assert!(error.contains(&format!("engine = \"{wrote}\"")), "{error}");
        drop(open(wrote, folder.path()));
    }
}

#[test]
fn a_sled_folder_of_before_there_were_buckets_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    sled::open(folder.path()).unwrap().insert(b"b", b"box").unwrap();
    let before = fs::read(folder.path().join("db")).unwrap();
    for engine in ENGINES {
        assert!(matches!(stores::open(engine, folder.path()), Err(OpenError::FormerLayout(_))));
    }
    assert_eq!(fs::read(folder.path().join("db")).unwrap(), before);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letters.txt"), b"dear").unwrap();
    assert!(matches!(stores::open(EngineName::Sled, folder.path()), Err(OpenError::NotAStore(_))));
    assert_eq!(fs::read(folder.path().join("letters.txt")).unwrap(), b"dear");
}

#[test]
fn a_marker_that_names_no_engine_is_an_error_and_no_new_store() {
    for marker in [&b""[..], b"veilpost-store 1 lmdb\n", b"veilpost-store 2 sled\n", b"\xff\xfe", &[b'v'; 5_000]] {
        let folder = tempfile::tempdir().unwrap();
        drop(open(EngineName::Sled, folder.path()));
        fs::write(folder.path().join("engine"), marker).unwrap();
        assert!(matches!(stores::open(EngineName::Sled, folder.path()), Err(OpenError::Marker(_))));
    }
}

#[test]
fn two_processes_never_use_one_store() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let store = open(engine, folder.path());
        assert!(matches!(stores::open(engine, folder.path()), Err(OpenError::InUse(_))));
        drop(store);
        drop(open(engine, folder.path()));
    }
}

#[test]
fn nobody_else_can_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    drop(open(EngineName::Redb, &folder.path().join("boxes")));
    let mode = fs::metadata(folder.path().join("boxes")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn names_that_only_look_like_days_are_no_buckets() {
    let folder = tempfile::tempdir().unwrap();
    open(EngineName::Redb, folder.path())
        .apply(&[Change::Record { series: Series::Note, number: 1, bytes: vec![1] }])
        .unwrap();
    for name in ["day-", "day-007", "day-+7", "day-99999999999", "day-x"] {
        fs::write(folder.path().join(name), b"?").unwrap();
    }
    assert_eq!(open(EngineName::Redb, folder.path()).usage_of(Day(7)).boxes, 0);
}
