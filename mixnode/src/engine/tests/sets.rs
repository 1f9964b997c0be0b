//! Sets at an entry: the newest making of each period, whole ones alone, newest first.

use super::*;
use veilpost_packet::{
    frame::Wanted,
    geometry::{SET_MAX, SET_PART_TAGS},
    set::{Period, SetHead},
    time::Day,
};

fn set(entry: &Engine, mailbox: u8, period: Period, made: u32, tags: u8) -> SignedSet {
    let head = SetHead {
        network: document(entry).network,
        document: DocumentHash::default(),
        mailbox: id(mailbox),
        district: District(0),
        period,
        made: Tick(tick_now(entry).0 - 10 + made),
    };
    head.sign((0..tags).map(|tag| BoxTag([tag; 6])).collect(), &identity(mailbox)).remove(0)
}

fn today(entry: &Engine) -> u32 {
    Day::at(NOW, document(entry).params.day).0
}

fn received(entry: &mut Engine, want: &Want) -> Vec<Vec<u8>> {
    entry.handle_want(&session(200), want);
    let (_, frames) = run(entry, NOW + SECOND * 20);
    let mut joiner = RecordJoiner::new(SET_MAX);
    let sets = frames.iter().filter(|(_, frame)| frame.kind() == FrameKind::Set);
    sets.flat_map(|(_, frame)| joiner.push(frame.body()).unwrap()).collect()
}

#[test]
fn a_client_gets_the_sets_it_wants_newest_first_and_of_each_the_last_making() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    let today = today(&entry);
    let day = |back: u32, made, tags| set(&entry, 5, Period::Day(today - back), made, tags);
    let (old, new, before, hour) = (day(1, 0, 9), day(1, 1, 3), day(2, 1, 4), day(3, 1, 1));
    for one in [&old, &new, &old, &before, &hour] {
        entry.handle_set(NOW, &id(5), one).unwrap();
    }
    let want = Want { mailbox: id(5), what: Wanted::Days, first: today - 2, count: 3 };
    assert_eq!(received(&mut entry, &want), [new.as_bytes().to_vec(), before.as_bytes().to_vec()]);
}

#[test]
fn sets_of_others_of_odd_periods_and_two_of_one_making_are_refused() {
    let mut entry = engine(4);
    let today = today(&entry);
    let good = set(&entry, 5, Period::Day(today), 1, 3);
    assert_eq!(entry.handle_set(NOW, &id(15), &good), Err(DigestRefused::NotOurs));
    assert_eq!(engine(2).handle_set(NOW, &id(5), &good), Err(DigestRefused::NotOurs));
    for odd in [Period::Day(today + 2), Period::Day(today - 17), Period::Hour(today * 24 - 48)] {
        let odd = set(&entry, 5, odd, 1, 3);
        assert_eq!(entry.handle_set(NOW, &id(5), &odd), Err(DigestRefused::Tick));
    }
    entry.handle_set(NOW, &id(5), &good).unwrap();
    entry.handle_set(NOW, &id(5), &good).unwrap();
    let second = set(&entry, 5, Period::Day(today), 1, 4);
    assert_eq!(entry.handle_set(NOW, &id(5), &second), Err(DigestRefused::Equivocation));
}

/// A set that fills one part.
fn large(entry: &Engine, mailbox: u8, period: Period) -> SignedSet {
    let head = SetHead { period, ..set(entry, mailbox, period, 1, 1).part().head };
    let tag = |number: u64| {
        let [_, _, tag @ ..] = (number << 31).to_be_bytes();
        BoxTag(tag)
    };
    head.sign((0..SET_PART_TAGS as u64).map(tag).collect(), &identity(mailbox)).remove(0)
}

#[test]
fn at_its_bound_of_bytes_a_mailboxs_oldest_days_go_first_then_its_oldest_hours() {
    let probe = engine(4);
    let (today, this_hour) = (today(&probe), u32::try_from(NOW.periods(document(&probe).params.hour())).unwrap());
    let one = large(&probe, 5, Period::Day(today)).as_bytes().len();
    let small = set(&probe, 5, Period::Hour(this_hour), 1, 1).as_bytes().len();
    let mut entry = engine_with(4, Limits { sets: 2 * one + small, ..Limits::default() }, 10);
    let here = |entry: &Engine, mailbox: u8| {
        let days = Want { mailbox: id(mailbox), what: Wanted::Days, first: 0, count: u32::MAX };
        let parts = [Want { what: Wanted::Hours, ..days }, days].map(|want| entry.sets.range(&want).cloned().collect());
        let parts: [Vec<_>; 2] = parts;
        parts.concat().iter().map(|part| SignedSet::verify(part).unwrap().part().head.period).collect::<Vec<_>>()
    };
    let hour = Period::Hour(this_hour - 1);
    for period in [Period::Day(today - 1), Period::Day(today)] {
        let set = large(&entry, 5, period);
        entry.handle_set(NOW, &id(5), &set).unwrap();
    }
    let set_of_hour = set(&entry, 5, hour, 1, 1);
    entry.handle_set(NOW, &id(5), &set_of_hour).unwrap();
    assert_eq!(here(&entry, 5), [hour, Period::Day(today), Period::Day(today - 1)], "exactly full");
    let one_more = set(&entry, 5, Period::Hour(this_hour - 2), 1, 1);
    entry.handle_set(NOW, &id(5), &one_more).unwrap();
    assert_eq!(here(&entry, 5), [hour, Period::Hour(this_hour - 2), Period::Day(today)]);
    // A large hour, then another: days are gone before the older hours are.
    for (back, left) in [(3, vec![1, 2, 3]), (4, vec![1, 2, 3])] {
        let set = large(&entry, 5, Period::Hour(this_hour - back));
        entry.handle_set(NOW, &id(5), &set).unwrap();
        let hours: Vec<_> = here(&entry, 5).into_iter().filter(|period| matches!(period, Period::Hour(_))).collect();
        assert_eq!(hours, left.into_iter().map(|back| Period::Hour(this_hour - back)).collect::<Vec<_>>());
    }
}
