//! A process that is killed loses nothing that it acknowledged, and tears nothing.

use crate::support::{ENGINES, ack, as_child, child, held, id, number, open, put, tombstone, waiting};
use std::io::{BufRead, BufReader};
use veilpost_mailbox::{
    store::{BoxStore, Change, Held, Series, Usage},
    stores::DiskStore,
};
use veilpost_packet::time::Day;

/// Where renewed boxes go.
const LATE: Day = Day(20);

fn day(n: u64) -> Day {
    Day(10 + n as u32 % 5)
}

/// Batch `k` puts four boxes, acknowledges one of two batches ago, renews another one of these and writes a record.
fn batch(k: u64) -> Vec<Change> {
    let mut changes: Vec<_> = (4 * k..4 * k + 4)
        .map(|n| Change::Hold { id: id(n), held: held(n, day(n)), announce: Some(waiting(n, day(n))) })
        .collect();
    if let Some(before) = k.checked_sub(2) {
        changes.push(ack(4 * before, day(4 * before)));
        changes.push(put(4 * before + 1, LATE));
    }
    changes.push(Change::Record { series: Series::Digest, number: k as u32, bytes: vec![k as u8; 300] });
    changes
}

/// What a box may be when `done` batches are acknowledged and one more may have been made in part.
fn may_be(n: u64, done: u64) -> Vec<Option<Held>> {
    let last = match n % 4 {
        0 => tombstone(n, day(n)),
        1 => held(n, LATE),
        _ => held(n, day(n)),
    };
    match n / 4 {
        made if made + 2 < done => vec![Some(last)],
        made if made + 2 == done => vec![Some(held(n, day(n))), Some(last)],
        made if made < done => vec![Some(held(n, day(n)))],
        made if made == done => vec![Some(held(n, day(n))), None],
        _ => vec![None],
    }
}

fn all_is_there(store: &DiskStore, done: u64) {
    for n in 0..4 * done + 8 {
        let found = store.get(&id(n)).unwrap();
        assert!(may_be(n, done).contains(&found), "box {n} after {done} batches: {found:?}");
        if n < 4 * done && n % 4 > 1 {
            let waits = waiting(n, day(n));
            assert!(store.waiting(usize::MAX).unwrap().contains(&waits), "box {n} is announced");
        }
    }
    let numbers: Vec<_> = store.records(Series::Digest, 0, usize::MAX).unwrap();
    assert!(numbers.len() as u64 >= done && numbers.len() as u64 <= done + 1);
    assert!(numbers.iter().all(|(k, bytes)| *bytes == vec![*k as u8; 300]));
    let walked = store.walk(None, usize::MAX).unwrap();
    let boxes = walked.iter().filter(|one| one.others.is_some()).count() as u64;
    assert_eq!(store.usage(), Usage { boxes, tombstones: walked.len() as u64 - boxes }, "counts are what is there");
}

#[test]
fn a_process_that_is_killed_while_it_writes_loses_nothing_that_it_acknowledged() {
    if let Some((engine, folder)) = as_child() {
        let mut store = open(engine, &folder);
        // The harness has written the test's name without a line break.
        println!();
        for k in store.newest(Series::Digest).unwrap().map_or(0, |(k, _)| u64::from(k)).. {
            store.apply(&batch(k)).unwrap();
            println!("stored {k}");
        }
    }
    let name = "killed::a_process_that_is_killed_while_it_writes_loses_nothing_that_it_acknowledged";
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let mut done = 0;
        // The same store all the time: what a crash left behind meets the next one.
        for more in [1, 2, 7, 3, 20, 40] {
            let mut child = child(name, engine, folder.path(), "");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let enough = done + more;
            while done < enough {
                let line = lines.next().expect("the child writes for ever").unwrap();
                done = number(&line, "stored ").map_or(done, |k| k + 1);
            }
            child.kill().unwrap();
            for line in lines.map_while(Result::ok) {
                done = number(&line, "stored ").map_or(done, |k| k + 1);
            }
            child.wait().unwrap();
            all_is_there(&open(engine, folder.path()), done);
        }
    }
}

#[test]
fn a_process_that_is_killed_while_days_come_and_go_leaves_a_store_that_opens() {
    if let Some((engine, folder)) = as_child() {
        let mut store = open(engine, &folder);
        println!();
        for today in store.newest(Series::Note).unwrap().map_or(0, |(today, _)| today).. {
            let record = Change::Record { series: Series::Note, number: today, bytes: Vec::new() };
            store.apply(&[put(u64::from(today), Day(today + 2)), record]).unwrap();
            println!("stored {today}");
            store.expire(Day(today)).unwrap();
        }
    }
    let name = "killed::a_process_that_is_killed_while_days_come_and_go_leaves_a_store_that_opens";
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..12 {
            let mut child = child(name, engine, folder.path(), "");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut today = None;
            for _ in 0..5 {
                today = number(&lines.next().unwrap().unwrap(), "stored ").or(today);
            }
            // At another moment of the making or removing of a bucket each time.
            std::thread::sleep(std::time::Duration::from_micros(700 * round));
            child.kill().unwrap();
            for line in lines.map_while(Result::ok) {
                today = number(&line, "stored ").or(today);
            }
            child.wait().unwrap();
            let today = today.expect("the child stores for ever");
            let store = open(engine, folder.path());
            assert_eq!(store.get(&id(today)).unwrap(), Some(held(today, Day(today as u32 + 2))));
            let names: Vec<_> =
                std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(names.len() <= 3 + 5, "{engine}, day {today}: {names:?}");
        }
    }
}
