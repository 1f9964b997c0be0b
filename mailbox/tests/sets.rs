//! Sets: what is still held of each hour and day, made in steps, thinned out by acknowledgements, gone with their buckets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Mail, Rig, TODAY, mail_of};
use std::{collections::BTreeMap, time::Duration};
use veilpost_mailbox::{
    engine::Mailbox,
    memory::MemoryStore,
    store::{BoxStore, Series},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag},
    set::{Period, SetPart, SignedSet},
    time::Timestamp,
};

const LAST_DAY: u32 = TODAY + 15;
const HOUR: Duration = Duration::from_secs(3_600);

fn mails(seeds: std::ops::Range<u64>, expiry: u32) -> Vec<Mail> {
    seeds.map(|seed| mail_of(seed, b"content", BoxClass::Solo, expiry)).collect()
}

/// Lets a mailbox make what is due; the tags of each period whose set it made.
fn make<S: BoxStore>(engine: &mut Mailbox<S>, now: Timestamp) -> BTreeMap<Period, Vec<BoxTag>> {
    let mut made = BTreeMap::new();
    for step in 0..2_000u32 {
        for part in engine.poll_set(now + Duration::from_millis(100) * step).unwrap() {
            let SetPart { head, parts, part, tags } = SignedSet::verify(part.as_bytes()).unwrap().into_part();
            assert_eq!((parts, part), (1, 0));
            made.insert(head.period, tags);
        }
    }
    made
}

fn sorted(mails: &[Mail]) -> Vec<BoxTag> {
    let mut tags: Vec<_> = mails.iter().map(Mail::tag).collect();
    tags.sort();
    tags
}

fn hour(now: Timestamp) -> Period {
    Period::Hour(u32::try_from(now.periods(HOUR)).unwrap())
}

#[test]
fn an_hours_set_names_what_its_digests_named_and_nobody_has_acknowledged() {
    let mut rig = Rig::new(MemoryStore::default());
    let now = rig.now;
    make(rig.engine(), now);
    let mails = mails(0..20, LAST_DAY);
    mails.iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    assert_eq!(rig.tags().len(), 20);
    let named = hour(rig.now);
    mails[..5].iter().for_each(|mail| drop(rig.ack(mail, true)));
    rig.now = rig.now + HOUR;
    let now = rig.now;
    let made = make(rig.engine(), now);
    assert_eq!(made[&named], sorted(&mails[5..]));
    assert_eq!(made.len(), 24, "one for each hour of a day");
    assert_eq!(made.values().map(Vec::len).sum::<usize>(), 15);
    mails[5..10].iter().for_each(|mail| drop(rig.ack(mail, true)));
    let again = make(rig.engine(), now + HOUR);
    assert_eq!(again[&named], sorted(&mails[10..]));
    assert!(!again.keys().any(|period| matches!(period, Period::Day(_))), "days are made once a day");
}

#[test]
fn a_days_set_names_what_is_held_of_its_bucket_and_thins_out_from_day_to_day() {
    let mut rig = Rig::new(MemoryStore::default());
    let (today, tomorrow) = (mails(0..700, LAST_DAY), mails(1_000..1_010, LAST_DAY + 1));
    today.iter().chain(&tomorrow).for_each(|mail| drop(rig.put(&mail.sealed)));
    rig.tick().unwrap();
    let now = rig.now;
    let made = make(rig.engine(), now);
    assert_eq!(made[&Period::Day(TODAY)], sorted(&today));
    // One for each day on which a box that lives may have been sent first.
    assert_eq!(made.keys().filter(|period| matches!(period, Period::Day(_))).count(), 16);
    today[..100].iter().for_each(|mail| drop(rig.ack(mail, true)));
    rig.days_pass(1);
    let now = rig.now;
    let made = make(rig.engine(), now);
    assert_eq!(made[&Period::Day(TODAY)], sorted(&today[100..]));
    assert_eq!(made[&Period::Day(TODAY + 1)], sorted(&tomorrow));
    rig.days_pass(20);
    rig.tick().unwrap();
    let now = rig.now;
    assert!(make(rig.engine(), now).values().all(Vec::is_empty));
    let kept = rig.engine().sets(Series::DailySet, 0, 1_000).unwrap();
    assert_eq!(kept.len(), 16);
    assert_eq!(kept[0].0, TODAY + 21 - 15, "with its bucket the set of a day goes");
}

#[test]
fn a_new_process_knows_the_hours_of_the_one_before_and_forgets_what_was_acknowledged() {
    let mut rig = Rig::new(MemoryStore::default());
    let mails = mails(0..20, LAST_DAY);
    mails.iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    rig.tick().unwrap();
    let named = hour(rig.now);
    mails[..5].iter().for_each(|mail| drop(rig.ack(mail, true)));
    rig.now = rig.now + HOUR;
    rig.restart();
    let now = rig.now;
    // Before it has met the tombstones it may name what is gone.
    assert_eq!(make(rig.engine(), now)[&named], sorted(&mails));
    assert_eq!(make(rig.engine(), now + HOUR)[&named], sorted(&mails[5..]));
}

#[test]
fn one_step_looks_at_few_boxes_and_makes_one_day_after_the_other() {
    let mut rig = Rig::new(MemoryStore::default());
    mails(0..1_200, LAST_DAY).iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    rig.tick().unwrap();
    let now = rig.now;
    let day = |parts: &[SignedSet]| parts.iter().any(|set| set.part().head.period == Period::Day(TODAY));
    // The load of digests takes half a step, the hours of the last day some, 1,200 boxes more than two.
    let mut steps = 0u32;
    while !day(&rig.engine().poll_set(now + Duration::from_millis(100) * steps).unwrap()) {
        steps += 1;
    }
    assert!((3..30).contains(&steps), "{steps}");
    assert!(rig.engine().poll_set(now + Duration::from_millis(100) * steps).unwrap().is_empty(), "not before its time");
}

#[test]
fn a_box_that_waits_for_its_digest_is_in_no_set() {
    let mut rig = Rig::new(MemoryStore::default());
    mails(0..3, LAST_DAY).iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    let now = rig.now;
    assert!(make(rig.engine(), now).values().all(Vec::is_empty));
}

#[test]
fn a_set_that_the_disk_refuses_is_made_later() {
    let mut rig = Rig::new(MemoryStore::default());
    let mails = mails(0..3, LAST_DAY);
    mails.iter().for_each(|mail| drop(rig.put(&mail.sealed)));
    rig.tick().unwrap();
    let now = rig.now;
    rig.engine().store_mut().disk_full = true;
    assert!(rig.engine().poll_set(now).is_err());
    assert!(rig.engine().poll_set(now).unwrap().is_empty(), "not at once");
    rig.engine().store_mut().disk_full = false;
    let made = make(rig.engine(), now);
    assert_eq!(made[&Period::Day(TODAY)], sorted(&mails));
}
