//! Sets that are wanted where digests cannot be had: which, in what order, and what they named. Pure.
//!
//! What is asked for follows from how long the client was away, and from which digests its entry lacks; whoever was away as long
//! behind the same entry asks for the same.

use crate::arq::Pace;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};
use veilpost_packet::{
    boxes::BoxTag,
    frame::{Want, Wanted},
    ids::NodeId,
    set::{Period, SetPart},
    time::{Day, Tick, Timestamp},
};
use veilpost_pki::Params;

/// Hours up to now that are asked for by the hour: as many as mailboxes make.
const HOURS: u32 = 24;
/// How long nothing may come of a Want before it is asked again; doubled with each asking in vain, up to [`WANT_MAX`].
const WANT_AGAIN: Duration = Duration::from_secs(60);
/// Longest wait between two askings.
const WANT_MAX: Duration = Duration::from_secs(3_600);
/// Tags that are kept for streams that become known later (24 MB). What is beyond it beacons tell of. Mailboxes fill it.
const KEPT_MAX: usize = 1 << 22;
/// Parts whose tags are kept: those of fifteen days at a hundred mailboxes. A mailbox that makes a set of two parts anew and anew
/// and brings of each the last, with one tag, would otherwise fill the memory with lists. What is beyond it beacons tell of.
const LISTS_MAX: usize = 4_096;

/// Sets of one mailbox that are still to come.
#[derive(Debug, Default)]
struct Absence {
    wanted: BTreeSet<Period>,
    /// Parts that are here of a set that is not here whole, with the making that they are of.
    partial: BTreeMap<Period, (Tick, BTreeSet<u16>)>,
    asked: u32,
    again: Timestamp,
}

/// What is wanted of all mailboxes, and what came.
#[derive(Debug, Default)]
pub struct SetTracker {
    absences: BTreeMap<NodeId, Absence>,
    /// Of each mailbox the last absence: since when, and when its sets were asked for.
    begun: BTreeMap<NodeId, (Timestamp, Timestamp)>,
    /// Tags of the sets that came, each sorted.
    named: Vec<Vec<BoxTag>>,
    kept: usize,
    last: Timestamp,
    /// What is wanted is not what is on disk.
    changed: bool,
}

impl SetTracker {
    /// Takes up what was wanted when the process before ended.
    pub fn new(now: Timestamp, wanted: Vec<(NodeId, Period)>) -> Self {
        let mut tracker = Self { last: now, ..Self::default() };
        for (mailbox, period) in wanted {
            tracker.absences.entry(mailbox).or_default().wanted.insert(period);
        }
        tracker
    }

    /// After an absence that ends now and began at `left` all sets of that time are wanted: by hours as far as there are any,
    /// then by days. If the same absence ends a second time, as it does when a mailbox that was down comes back after the others,
    /// only what was made since is.
    pub fn begin(&mut self, now: Timestamp, mailbox: NodeId, left: Timestamp, params: &Params) {
        let before = self.begun.get(&mailbox).filter(|(since, _)| *since == left).map(|(_, at)| *at);
        if before.is_some_and(|at| now.since(at) < params.hour()) {
            return;
        }
        self.begun.insert(mailbox, (left, now));
        self.want(now, mailbox, before.unwrap_or(left)..=now, params);
    }

    /// The sets of a time within the history whose digests the entry does not have.
    pub fn fill(&mut self, now: Timestamp, mailbox: NodeId, gap: RangeInclusive<Timestamp>, params: &Params) {
        self.want(now, mailbox, gap, params);
    }

    /// A box may be of the day before the one on which it was stored, and a day ahead if its writer's clock was.
    fn want(&mut self, now: Timestamp, mailbox: NodeId, time: RangeInclusive<Timestamp>, params: &Params) {
        let hour = number(now, params.hour());
        let (oldest, first) = (hour.saturating_sub(HOURS - 1), number(*time.start(), params.hour()));
        let last = number(*time.end(), params.hour()).min(hour);
        let hours = (first.max(oldest)..=last).map(Period::Hour);
        let today = Day::at(now, params.day).0;
        let by_hour = Timestamp::ZERO + params.hour().saturating_mul(oldest);
        let first_day =
            Day::at(*time.start(), params.day).0.saturating_sub(1).max(today.saturating_sub(params.box_days));
        let last_day = Day::at(by_hour, params.day).0.saturating_add(1).min(today);
        let days = (first_day..=last_day).map(Period::Day).filter(|_| first < oldest);
        let absence = self.absences.entry(mailbox).or_default();
        let before = absence.wanted.len();
        absence.wanted.extend(hours.chain(days));
        // An answer to what was wanted before may be on its way.
        if absence.wanted.len() > before {
            (absence.asked, absence.again) = (0, now);
            self.changed = true;
        }
    }

    /// Takes a part whose signature was checked. True if it is wanted: match its tags.
    pub fn handle(&mut self, now: Timestamp, part: &SetPart, pace: Pace) -> bool {
        let head = &part.head;
        let Some(absence) = self.absences.get_mut(&head.mailbox) else { return false };
        if !absence.wanted.contains(&head.period) {
            return false;
        }
        let (made, parts) = absence.partial.entry(head.period).or_insert((head.made, BTreeSet::new()));
        if *made < head.made {
            (*made, *parts) = (head.made, BTreeSet::new());
        }
        if *made > head.made || !parts.insert(part.part) {
            return false;
        }
        if parts.len() == usize::from(part.parts) {
            absence.partial.remove(&head.period);
            absence.wanted.remove(&head.period);
            self.changed = true;
        }
        // The answer is on its way: asking meanwhile would only bring it twice.
        (absence.asked, absence.again) = (1, now + pace.of(WANT_AGAIN));
        if absence.wanted.is_empty() {
            self.absences.remove(&head.mailbox);
        }
        self.keep(now, &part.tags);
        true
    }

    /// What a part named could not be kept, which counts as if the part had not come: its set is asked for again.
    pub fn take_back(&mut self, now: Timestamp, part: &SetPart, pace: Pace) {
        let absence = self.absences.entry(part.head.mailbox).or_default();
        absence.wanted.insert(part.head.period);
        if let Some((_, parts)) = absence.partial.get_mut(&part.head.period) {
            parts.remove(&part.part);
        }
        (absence.asked, absence.again) = (1, now + pace.of(WANT_AGAIN));
        if let Some(tags) = self.named.pop_if(|tags| *tags == part.tags) {
            self.kept -= tags.len();
        }
        self.changed = true;
    }

    fn keep(&mut self, now: Timestamp, tags: &[BoxTag]) {
        self.last = now;
        if !tags.is_empty() && self.kept + tags.len() <= KEPT_MAX && self.named.len() < LISTS_MAX {
            self.kept += tags.len();
            self.named.push(tags.to_vec());
        }
    }

    /// What to ask the entry for at a tick of the loop clock: hours that are over, then days, newest first and as many in a row as are
    /// wanted.
    pub fn next_want(&mut self, now: Timestamp, params: &Params) -> Option<Want> {
        let pace = Pace(params.hurry);
        let hour = number(now, params.hour());
        let over = |period: &&Period| !matches!(period, Period::Hour(number) if *number >= hour);
        let due = self.absences.iter_mut().filter(|(_, absence)| absence.again <= now);
        let due = due.filter(|(_, absence)| absence.wanted.iter().any(|period| over(&period)));
        let (mailbox, absence) = due.min_by_key(|(_, absence)| absence.again)?;
        let hours = absence.wanted.range(..Period::Day(0)).rfind(over);
        let newest = hours.or_else(|| absence.wanted.last()).copied()?;
        let (what, make): (Wanted, fn(u32) -> Period) = match newest {
            Period::Hour(_) => (Wanted::Hours, Period::Hour),
            Period::Day(_) => (Wanted::Days, Period::Day),
        };
        let mut first = newest.number();
        while first > 0 && absence.wanted.contains(&make(first - 1)) {
            first -= 1;
        }
        let wait = WANT_AGAIN.saturating_mul(2u32.saturating_pow(absence.asked)).min(WANT_MAX);
        (absence.asked, absence.again) = (absence.asked.saturating_add(1), now + pace.of(wait));
        Some(Want { mailbox: *mailbox, what, first, count: newest.number() - first + 1 })
    }

    /// True if a set named this tag.
    pub fn has_named(&self, tag: &BoxTag) -> bool {
        self.named.iter().any(|tags| tags.binary_search(tag).is_ok())
    }

    /// Gives up what nobody makes any more, and forgets what was named a day after the last set came.
    pub fn forget_old(&mut self, now: Timestamp, params: &Params) {
        let hour = number(now, params.hour()).saturating_sub(HOURS);
        let day = Day::at(now, params.day).0.saturating_sub(params.box_days);
        self.absences.retain(|_, absence| {
            let before = absence.wanted.len();
            absence.wanted.retain(|period| match period {
                Period::Hour(number) => *number >= hour,
                Period::Day(number) => *number >= day,
            });
            self.changed |= before != absence.wanted.len();
            !absence.wanted.is_empty()
        });
        self.begun.retain(|_, (_, at)| now.since(*at) <= params.digest_history);
        if now.since(self.last) > params.digest_history {
            (self.named, self.kept) = (Vec::new(), 0);
        }
    }

    /// What is to be kept on disk, if it is another than before.
    pub fn changed(&self) -> Option<Vec<(NodeId, Period)>> {
        let wanted = |(mailbox, absence): (&NodeId, &Absence)| {
            absence.wanted.iter().map(|period| (*mailbox, *period)).collect::<Vec<_>>()
        };
        self.changed.then(|| self.absences.iter().flat_map(wanted).collect())
    }

    /// It is on disk.
    pub fn saved(&mut self) {
        self.changed = false;
    }

    /// Sets that are still to come.
    pub fn wanted(&self) -> usize {
        self.absences.values().map(|absence| absence.wanted.len()).sum()
    }
}

fn number(now: Timestamp, length: Duration) -> u32 {
    u32::try_from(now.periods(length)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use veilpost_packet::{
        ids::{District, DocumentHash, NetworkId},
        set::SetHead,
    };

    /// Six in the morning of day 20,000.
    const NOW: Timestamp = Timestamp::from_secs(20_000 * 86_400 + 6 * 3_600);
    const MAILBOX: NodeId = NodeId([5; 32]);
    const HOUR: u32 = 20_000 * 24 + 6;

    fn part(period: Period, parts: u16, part: u16, made: u32) -> SetPart {
        let head = SetHead {
            network: NetworkId([1; 32]),
            document: DocumentHash::default(),
            mailbox: MAILBOX,
            district: District(0),
            period,
            made: Tick(made),
        };
        SetPart { head, parts, part, tags: vec![BoxTag([part as u8; 6])] }
    }

    fn away(days: u32) -> (SetTracker, Params) {
        let (mut tracker, params) = (SetTracker::default(), Params::standard());
        tracker.begin(NOW, MAILBOX, NOW - params.day * days, &params);
        (tracker, params)
    }

    #[test]
    fn who_was_away_for_two_days_asks_for_a_day_by_hours_and_then_for_the_days_before() {
        let (mut tracker, params) = away(2);
        let hours = tracker.next_want(NOW, &params).unwrap();
        assert_eq!((hours.what, hours.first, hours.end()), (Wanted::Hours, HOUR - 23, HOUR));
        assert_eq!(tracker.next_want(NOW, &params), None, "asked once, then time for the answer");
        for hour in hours.first..hours.end() {
            assert!(tracker.handle(NOW, &part(Period::Hour(hour), 1, 0, 1), Pace(1)));
        }
        let later = NOW + WANT_AGAIN;
        let days = tracker.next_want(later, &params).unwrap();
        assert_eq!((days.what, days.first, days.end()), (Wanted::Days, 19_997, 20_001));
        for day in days.first..days.end() {
            tracker.handle(later, &part(Period::Day(day), 1, 0, 1), Pace(1));
        }
        assert_eq!(tracker.wanted(), 1, "the hour that is not over");
        assert_eq!(tracker.next_want(later + WANT_MAX / 2, &params), None);
        let last = tracker.next_want(NOW + params.hour(), &params).unwrap();
        assert_eq!((last.what, last.first, last.count), (Wanted::Hours, HOUR, 1));
    }

    #[test]
    fn no_day_is_asked_for_whose_boxes_are_all_expired() {
        let (tracker, params) = away(100);
        let days = tracker.absences[&MAILBOX].wanted.range(Period::Day(0)..).count();
        assert_eq!(days, params.box_days as usize + 1);
    }

    #[test]
    fn a_set_is_here_when_all_parts_of_one_making_are() {
        let (mut tracker, _) = away(2);
        let (day, before) = (Period::Day(19_999), tracker.wanted());
        assert!(tracker.handle(NOW, &part(day, 2, 0, 1), Pace(1)));
        assert!(!tracker.handle(NOW, &part(day, 2, 0, 1), Pace(1)), "the same again");
        assert!(tracker.handle(NOW, &part(day, 2, 1, 2), Pace(1)), "of a later making");
        assert!(!tracker.handle(NOW, &part(day, 2, 1, 1), Pace(1)), "of the earlier");
        assert_eq!(tracker.wanted(), before);
        assert!(tracker.handle(NOW, &part(day, 2, 0, 2), Pace(1)));
        assert_eq!(tracker.wanted(), before - 1);
        assert!(!tracker.handle(NOW, &part(day, 2, 0, 3), Pace(1)), "not wanted any more");
        assert!(tracker.has_named(&BoxTag([1; 6])) && !tracker.has_named(&BoxTag([7; 6])));
    }

    #[test]
    fn a_part_that_is_taken_back_is_wanted_as_before() {
        let (mut tracker, _) = away(2);
        let (day, before) = (Period::Day(19_999), tracker.wanted());
        let [first, second] = [0, 1].map(|number| part(day, 2, number, 1));
        assert!(tracker.handle(NOW, &first, Pace(1)));
        tracker.take_back(NOW, &first, Pace(1));
        assert!(!tracker.has_named(&BoxTag([0; 6])) && tracker.kept == 0);
        assert!(tracker.handle(NOW, &first, Pace(1)) && tracker.handle(NOW, &second, Pace(1)));
        assert_eq!(tracker.wanted(), before - 1);
        // It was the last: all are wanted anew.
        tracker.take_back(NOW, &second, Pace(1));
        assert_eq!((tracker.wanted(), tracker.named.len()), (before, 1));
        assert!(tracker.handle(NOW, &second, Pace(1)) && tracker.wanted() == before);
        assert!(tracker.handle(NOW, &first, Pace(1)));
        assert_eq!(tracker.wanted(), before - 1);
        assert!(tracker.changed().is_some(), "the next process does not want it");
    }

    #[test]
    fn the_next_process_wants_what_is_still_to_come_and_no_more_than_that() {
        let (mut tracker, params) = away(2);
        tracker.handle(NOW, &part(Period::Day(19_999), 1, 0, 1), Pace(1));
        let kept = tracker.changed().unwrap();
        tracker.saved();
        assert_eq!(tracker.changed(), None);
        let mut next = SetTracker::new(NOW, kept);
        assert_eq!(next.wanted(), tracker.wanted());
        assert!(next.next_want(NOW, &params).is_some());
        next.forget_old(NOW + params.day * 20, &params);
        assert_eq!((next.wanted(), next.next_want(NOW + params.day * 20, &params)), (0, None));
    }

    #[test]
    fn a_want_in_vain_is_repeated_ever_more_rarely() {
        let (mut tracker, params) = away(2);
        let mut now = NOW;
        let mut asked = 0;
        while now < NOW + params.hour() {
            asked += u32::from(tracker.next_want(now, &params).is_some());
            now = now + Duration::from_secs(30);
        }
        assert_eq!(asked, 6);
    }

    #[test]
    fn a_gap_within_the_last_day_is_filled_by_the_sets_of_its_hours_alone() {
        let (mut tracker, params) = (SetTracker::default(), Params::standard());
        let hours = |from: u32, to: u32| NOW - params.hour() * from..=NOW - params.hour() * to;
        tracker.fill(NOW, MAILBOX, hours(5, 3), &params);
        let want = tracker.next_want(NOW, &params).unwrap();
        assert_eq!((want.what, want.first, want.end()), (Wanted::Hours, HOUR - 5, HOUR - 2));
        assert_eq!(tracker.wanted(), 3);
        assert_eq!(tracker.next_want(NOW, &params), None, "asked once, then time for the answer");
        tracker.fill(NOW, MAILBOX, hours(4, 3), &params);
        assert_eq!(tracker.next_want(NOW, &params), None, "nothing that was not wanted before");
        // One that begins before there are sets of hours takes those of its days.
        tracker.fill(NOW, MAILBOX, hours(24, 24), &params);
        assert_eq!(tracker.absences[&MAILBOX].wanted.range(Period::Day(0)..).count(), 3);
    }

    #[test]
    fn an_absence_that_ends_twice_is_asked_for_once() {
        let (mut tracker, params) = away(2);
        let left = NOW - params.day * 2;
        for period in tracker.absences[&MAILBOX].wanted.clone() {
            tracker.handle(NOW, &part(period, 1, 0, 1), Pace(1));
        }
        tracker.begin(NOW + WANT_AGAIN, MAILBOX, left, &params);
        assert_eq!(tracker.wanted(), 0);
        tracker.begin(NOW + params.hour() * 5, MAILBOX, left, &params);
        assert_eq!(tracker.wanted(), 6, "of the hours since");
        tracker.begin(NOW + params.hour() * 5, MAILBOX, left + params.hour(), &params);
        assert!(tracker.wanted() > 24, "another absence");
    }

    #[test]
    fn at_the_bound_of_tags_no_more_are_kept_and_a_part_is_matched_all_the_same() {
        let (mut tracker, _) = away(2);
        let with = |hour: u32, tags: std::ops::Range<usize>| {
            let tags = tags.map(|tag| tag_of(tag as u64)).collect();
            SetPart { tags, ..part(Period::Hour(hour), 1, 0, 1) }
        };
        assert!(tracker.handle(NOW, &with(HOUR - 1, 0..KEPT_MAX - 1), Pace(1)));
        assert!(tracker.handle(NOW, &with(HOUR - 2, KEPT_MAX..KEPT_MAX + 2), Pace(1)), "one too many");
        assert!(tracker.handle(NOW, &with(HOUR - 3, KEPT_MAX + 2..KEPT_MAX + 3), Pace(1)), "the last");
        assert!(tracker.handle(NOW, &with(HOUR - 4, KEPT_MAX + 3..KEPT_MAX + 4), Pace(1)));
        let named =
            [KEPT_MAX - 2, KEPT_MAX, KEPT_MAX + 2, KEPT_MAX + 3].map(|tag| tracker.has_named(&tag_of(tag as u64)));
        assert_eq!((named, tracker.kept), ([true, false, true, false], KEPT_MAX));
    }

    #[test]
    fn a_mailbox_that_makes_a_set_anew_and_anew_fills_no_more_lists_than_the_bound() {
        let (mut tracker, _) = away(2);
        for made in 1..LISTS_MAX as u32 + 10 {
            assert!(tracker.handle(NOW, &part(Period::Day(19_999), 2, 1, made), Pace(1)));
        }
        assert_eq!(tracker.named.len(), LISTS_MAX);
    }

    fn tag_of(number: u64) -> BoxTag {
        let [_, _, tag @ ..] = number.to_be_bytes();
        BoxTag(tag)
    }
}
