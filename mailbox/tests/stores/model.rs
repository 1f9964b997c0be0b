//! Every store does what the one in memory does.

use crate::support::{ENGINES, held, id, open, others, sealed, tombstone, waiting};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use veilpost_mailbox::{
    memory::MemoryStore,
    store::{BoxStore, Change, Cursor, Series, StoreError, Waiting, Walked},
    stores::{BUCKETS_MAX, DiskStore, EngineName},
};
use veilpost_packet::time::Day;

const IDS: u64 = 12;
const DAYS: u32 = 6;

#[derive(Clone, Debug)]
enum Do {
    Apply(Vec<Change>),
    Expire(u32),
    DropRecords(Series, u32),
    Reopen,
}

fn series() -> impl Strategy<Value = Series> {
    prop_oneof![Just(Series::Digest), Just(Series::Note), Just(Series::HourlySet), Just(Series::DailySet)]
}

fn change() -> impl Strategy<Value = Change> {
    let place = (0..IDS, 0..DAYS);
    prop_oneof![
        4 => (place.clone(), any::<bool>(), any::<bool>()).prop_map(|((n, day), alive, tell)| Change::Hold {
            id: id(n),
            held: if alive { held(n, Day(day)) } else { tombstone(n, Day(day)) },
            announce: tell.then(|| waiting(n, Day(day))),
        }),
        2 => (place.clone(), 0..4_usize, any::<bool>()).prop_map(|((n, day), count, tell)| Change::Confirm {
            id: id(n),
            bucket: Day(day),
            others: others(count),
            announce: tell.then(|| waiting(n, Day(day))),
        }),
        1 => place.clone().prop_map(|(n, day)| Change::Drop { id: id(n), bucket: Day(day) }),
        1 => place.prop_map(|(n, day)| Change::Announced(waiting(n, Day(day)))),
        1 => (series(), 0..9_u32, 0..50_usize).prop_map(|(series, number, length)| Change::Record {
            series,
            number: if number == 8 { u32::MAX } else { number },
            bytes: vec![number as u8; length],
        }),
    ]
}

/// Within a batch an id is changed once.
fn once(changes: Vec<Change>) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let name = |change: &Change| match change {
        Change::Hold { id, .. } | Change::Confirm { id, .. } | Change::Drop { id, .. } => id.0.to_vec(),
        Change::Announced(waiting) => (0..IDS).find(|n| id_has_tag(*n, waiting)).map(|n| id(n).0.to_vec()).unwrap(),
        Change::Record { series, number, .. } => [&[*series as u8][..], &number.to_be_bytes()].concat(),
    };
    changes.into_iter().filter(|change| seen.insert(name(change))).collect()
}

fn id_has_tag(n: u64, waits: &Waiting) -> bool {
    waiting(n, waits.bucket).tag == waits.tag
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let step = prop_oneof![
        8 => proptest::collection::vec(change(), 1..8).prop_map(|changes| Do::Apply(once(changes))),
        1 => (0..=DAYS).prop_map(Do::Expire),
        1 => (series(), 0..9_u32).prop_map(|(series, before)| Do::DropRecords(series, before)),
        1 => Just(Do::Reopen),
    ];
    proptest::collection::vec(step, 1..20)
}

fn walk(store: &impl BoxStore, limit: usize) -> Vec<Walked> {
    let (mut all, mut after) = (Vec::new(), None::<Cursor>);
    loop {
        let some = store.walk(after, limit).unwrap();
        assert!(some.len() <= limit);
        let Some(last) = some.last() else { return all };
        after = Some(last.at);
        all.extend(some);
    }
}

fn are_the_same(disk: &impl BoxStore, model: &MemoryStore) {
    for n in 0..IDS {
        assert_eq!(disk.get(&id(n)).unwrap(), model.get(&id(n)).unwrap(), "box {n}");
    }
    assert_eq!(disk.usage(), model.usage());
    for day in 0..DAYS {
        assert_eq!(disk.usage_of(Day(day)), model.usage_of(Day(day)), "day {day}");
    }
    let all = model.walk(None, usize::MAX).unwrap();
    assert_eq!(disk.walk(None, usize::MAX).unwrap(), all);
    assert_eq!(walk(disk, 3), all);
    let tags: BTreeSet<_> = model.waiting(usize::MAX).unwrap().into_iter().collect();
    let waiting = disk.waiting(usize::MAX).unwrap();
    assert_eq!(waiting.iter().copied().collect::<BTreeSet<_>>(), tags);
    assert_eq!(disk.waiting(2).unwrap(), waiting.into_iter().take(2).collect::<Vec<_>>());
    for series in [Series::Digest, Series::Note, Series::HourlySet, Series::DailySet] {
        assert_eq!(disk.newest(series).unwrap(), model.newest(series).unwrap());
        for (from, limit) in [(0, usize::MAX), (3, 2), (u32::MAX, 1), (0, 0)] {
            assert_eq!(disk.records(series, from, limit).unwrap(), model.records(series, from, limit).unwrap());
        }
    }
}

fn runs_like_the_model(engine: EngineName, steps: &[Do]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boxes");
    let mut model = MemoryStore::default();
    let mut disk: Option<DiskStore> = Some(open(engine, &path));
    for step in steps {
        let store = disk.as_mut().unwrap();
        match step {
            Do::Apply(changes) => {
                store.apply(changes).unwrap();
                model.apply(changes).unwrap();
            }
            Do::Expire(today) => {
                assert_eq!(store.expire(Day(*today)).unwrap(), model.expire(Day(*today)).unwrap());
            }
            Do::DropRecords(series, before) => {
                store.drop_records(*series, *before).unwrap();
                model.drop_records(*series, *before).unwrap();
            }
            Do::Reopen => {
                drop(disk.take());
                disk = Some(open(engine, &path));
            }
        }
        are_the_same(disk.as_ref().unwrap(), &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_sled_holds_what_memory_holds(steps in steps()) {
        runs_like_the_model(EngineName::Sled, &steps);
    }

    #[test]
    fn whatever_is_done_redb_holds_what_memory_holds(steps in steps()) {
        runs_like_the_model(EngineName::Redb, &steps);
    }
}

#[test]
fn a_day_that_is_over_goes_whole_and_gives_its_space_back() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes");
        let mut store = open(engine, &path);
        let put = |n| Change::Hold { id: id(n), held: held(n, Day(n as u32 % 2)), announce: None };
        store.apply(&(0..2_000).map(put).collect::<Vec<_>>()).unwrap();
        let full = bytes_in(&path);
        assert!(full > 2_000 * 3_400, "{engine}: {full}");
        assert_eq!(store.expire(Day(1)).unwrap(), 1);
        let half = bytes_in(&path);
        assert!(half < full * 6 / 10, "{engine}: {half} of {full} are left");
        assert_eq!((store.usage().boxes, store.usage_of(Day(0)).boxes), (1_000, 0));
        assert!(store.get(&id(0)).unwrap().is_none() && store.get(&id(1)).unwrap().is_some());
        assert_eq!(store.expire(Day(1)).unwrap(), 0);
    }
}

fn bytes_in(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::symlink_metadata(path).unwrap();
    let inside = if about.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| bytes_in(&entry.unwrap().path())).sum()
    } else {
        0
    };
    about.blocks() * 512 + inside
}

#[test]
fn days_that_last_seconds_come_and_go_by_the_hundred() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(engine, folder.path());
        for day in 0..100 {
            store.apply(&[Change::Hold { id: id(1), held: held(1, Day(day + 3)), announce: None }]).unwrap();
            store.expire(Day(day)).unwrap();
        }
        assert_eq!(store.get(&id(1)).unwrap(), Some(held(1, Day(102))));
        let databases = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(databases <= 3 + 5, "{engine}: {databases} files and folders");
    }
}

#[test]
fn boxes_of_more_days_than_a_network_can_have_are_refused_and_nothing_else_is() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(engine, folder.path());
        let put = |n: u64| Change::Hold { id: id(n), held: held(n, Day(n as u32)), announce: None };
        for n in 0..BUCKETS_MAX as u64 {
            store.apply(&[put(n)]).unwrap();
        }
        assert!(matches!(store.apply(&[put(BUCKETS_MAX as u64)]), Err(StoreError::Failed(_))));
        drop(store);
        let mut store = open(engine, folder.path());
        assert_eq!(store.usage().boxes, BUCKETS_MAX as u64);
        store.expire(Day(1)).unwrap();
        store.apply(&[put(BUCKETS_MAX as u64)]).unwrap();
    }
}

#[test]
fn of_a_renewal_that_was_cut_off_the_later_day_counts() {
    let boxes: BTreeMap<_, _> = [(3, sealed(1, Day(3))), (9, sealed(1, Day(9)))].into();
    assert_ne!(boxes[&3], boxes[&9]);
    for engine in ENGINES {
        // Two stores, each with one of the two buckets; then both buckets in one.
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, day) in [(&one, 3), (&other, 9)] {
            let hold = Change::Hold { id: id(1), held: held(1, Day(day)), announce: None };
            open(engine, folder.path()).apply(&[hold]).unwrap();
        }
        std::fs::rename(other.path().join("day-9"), one.path().join("day-9")).unwrap();
        let mut store = open(engine, one.path());
        assert_eq!(store.get(&id(1)).unwrap(), Some(held(1, Day(9))));
        assert_eq!((store.usage().boxes, store.walk(None, 9).unwrap().len()), (2, 2));
        let over = Change::Hold { id: id(1), held: tombstone(1, Day(9)), announce: None };
        store.apply(&[over]).unwrap();
        assert_eq!((store.usage().boxes, store.usage().tombstones), (0, 1));
        assert_eq!(store.walk(None, 9).unwrap().len(), 1);
    }
}

#[test]
fn no_record_has_more_other_holders_than_the_bound() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(engine, folder.path());
        store.apply(&[Change::Hold { id: id(1), held: held(1, Day(1)), announce: None }]).unwrap();
        let confirm = |count| Change::Confirm { id: id(1), bucket: Day(1), others: others(count), announce: None };
        assert!(matches!(store.apply(&[confirm(4)]), Err(StoreError::Failed(_))));
        assert!(store.apply(&[confirm(3)]).is_ok());
    }
}
