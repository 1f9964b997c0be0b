//! Logs on a real disk, killed, torn and moved to another boot.

use super::*;
use std::fs;
use veilpost_packet::replay::TagRefused;

const BOUND: LogKey = LogKey { epoch: Epoch(7), sphinx: SphinxPublic([3; 32]) };
const OTHER_BOOT: [u8; BOOT_ID] = [b'x'; BOOT_ID];

fn tags(range: std::ops::Range<u64>) -> Vec<Tag> {
    range.map(|value| Tag::from_bytes(value.to_be_bytes())).collect()
}

fn new_log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.tags");
    TagLog::create(&path, BOUND).unwrap();
    (folder, path)
}

fn open(path: &Path) -> Loaded {
    TagLog::open(path, BOUND, 1_000).unwrap()
}

#[test]
fn tags_survive_a_kill() {
    let (_folder, path) = new_log();
    let mut first = open(&path);
    first.log.append(&tags(1..101)).unwrap();
    assert!(matches!(TagLog::open(&path, BOUND, 10), Err(TagLogError::InUse { .. })));
    // A killed process writes no mark.
    drop(first.log);
    let mut again = open(&path);
    assert_eq!(again.table.len(), 100);
    assert_eq!(again.table.check_and_insert(tags(50..51)[0]), Err(TagRefused::Seen));
    assert_eq!(again.key.shorten(b"x"), first.key.shorten(b"x"));
    again.log.append(&tags(200..210)).unwrap();
    drop(again);
    assert_eq!(open(&path).table.len(), 110);
}

#[test]
fn a_torn_tail_is_left_out_and_written_over() {
    let (_folder, path) = new_log();
    let mut first = open(&path);
    first.log.append(&tags(1..4)).unwrap();
    drop(first);
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
    let mut torn = open(&path);
    assert_eq!(torn.table.len(), 2);
    torn.log.append(&tags(9..10)).unwrap();
    drop(torn);
    let mut whole = open(&path);
    assert_eq!(whole.table.check_and_insert(tags(9..10)[0]), Err(TagRefused::Seen));
    assert_eq!(whole.table.len(), 3);
}

#[test]
fn after_a_clean_stop_another_boot_goes_on() {
    let (_folder, path) = new_log();
    let mut first = open(&path);
    first.log.append(&tags(1..4)).unwrap();
    first.log.close().unwrap();
    let other = TagLog::open_at_boot(&path, BOUND, 1_000, OTHER_BOOT).unwrap();
    assert_eq!(other.table.len(), 3);
}

#[test]
fn after_an_unclean_boot_the_epoch_is_lost() {
    let (_folder, path) = new_log();
    let mut first = open(&path);
    first.log.append(&tags(1..4)).unwrap();
    drop(first);
    let lost = TagLog::open_at_boot(&path, BOUND, 1_000, OTHER_BOOT).unwrap_err();
    assert!(matches!(lost, TagLogError::UncleanBoot { epoch: Epoch(7) }));
    // Looking does not change it.
    assert!(TagLog::open_at_boot(&path, BOUND, 1_000, OTHER_BOOT).is_err());
}

#[test]
fn an_opened_log_is_unclean_even_if_it_got_no_tags() {
    let (_folder, path) = new_log();
    drop(open(&path));
    assert!(TagLog::open_at_boot(&path, BOUND, 1_000, OTHER_BOOT).is_err());
}

#[test]
fn a_log_of_another_key_or_epoch_is_refused() {
    let (_folder, path) = new_log();
    for bound in [LogKey { epoch: Epoch(8), ..BOUND }, LogKey { sphinx: SphinxPublic([4; 32]), ..BOUND }] {
        assert!(matches!(TagLog::open(&path, bound, 10), Err(TagLogError::Malformed { .. })));
    }
    fs::write(&path, b"VPTAGS1\n").unwrap();
    assert!(matches!(TagLog::open(&path, BOUND, 10), Err(TagLogError::Malformed { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(TagLog::open(&path, BOUND, 10), Err(TagLogError::Missing { .. })));
}

#[test]
fn a_log_with_more_tags_than_the_table_holds_is_refused() {
    let (_folder, path) = new_log();
    let mut first = open(&path);
    first.log.append(&tags(1..12)).unwrap();
    drop(first);
    assert!(matches!(TagLog::open(&path, BOUND, 10), Err(TagLogError::TooMany { .. })));
    assert_eq!(TagLog::open(&path, BOUND, 11).unwrap().table.len(), 11);
}
