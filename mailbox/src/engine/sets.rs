//! Sets of what is still held and unacknowledged: hourly ones for a day, daily ones for as long as boxes live.
//!
//! **Which period a box belongs to, without an index.** Its bucket is the day of its first send plus `box_days`, so the boxes of
//! one bucket *are* the set of a day; a renewed box is in the set of the day of its renewal. An hour's set has the tags that our
//! own digests named in that hour: they are few once readers have acknowledged, so they are kept in memory, each acknowledgement
//! takes one away, and a new process reads them from the digests of the last day. What was acknowledged before it began goes as
//! the walk over a bucket meets its tombstone; until then a set may name a box that is gone, and its reader is told so.
//!
//! **Who names a box.** Of its holders that are heard, the first in hash order: both would double the traffic of every client
//! that was away, which is what limits an absence. If that holder goes, the entries still have its sets; the next one names its
//! boxes from the first hour on that finds it gone. A set is not the only way either: beacons find what neither named.
//!
//! Hours are made again every hour, days every day, so that they thin out as readers acknowledge. The work is cut into steps
//! as the sweep's, but the last step of a set sorts, codes and signs it whole: 0.2 s for a million boxes of one bucket.

use super::{BoxId, BoxStore, CLOCK_SLACK_DAYS, Change, Day, District, Mailbox, NodeId, Series, SignedDigest, Tick};
use super::{StoreError, Timestamp};
use crate::store::{Cursor, Result};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use veilpost_packet::{
    boxes::BoxTag,
    codec::{Reader, Writer},
    geometry::{SET_MAX, SET_PART_TAGS, SET_PARTS_MAX},
    set::{Period, SetHead, SignedSet},
};

/// Hours for which there are sets.
const HOURS: u32 = 24;
/// Entries, or eight times as many tags in memory, looked at in one step.
const STEP: usize = 512;
/// Digests read in one step after a start.
const DIGESTS: usize = 64;
/// Gap between two steps: a million entries take 3 minutes.
const GAP: Duration = Duration::from_millis(100);
/// After the store failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Tags of the last day that are kept at most (about 70 MB). Writers fill it; beyond it the oldest hour has no set any more, and
/// its boxes are named by their day's.
const NAMED_MAX: usize = 1 << 22;
/// Tags of one bucket that are gathered at most (48 MB).
const GATHERED_MAX: usize = SET_PARTS_MAX * SET_PART_TAGS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Job {
    /// Reads the tags of digests from this tick on.
    Load(Tick),
    Hour(u32),
    Day(u32),
}

/// Sets that are made, and what they are made from.
#[derive(Debug)]
pub(super) struct Sets {
    /// What our digests of the last day named, as far as it is not acknowledged, with the hour.
    named: BTreeMap<BoxTag, u32>,
    /// No hour before it has a set.
    oldest: u32,
    jobs: VecDeque<Job>,
    /// Of the bucket under way: where the walk is, and the tags so far.
    cursor: Option<Cursor>,
    gathered: Vec<BoxTag>,
    next: Timestamp,
    loaded: bool,
    /// The hour and the day of the last plan, and who was heard then.
    planned: Option<(u32, Day)>,
    heard: BTreeSet<NodeId>,
}

impl Sets {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            named: BTreeMap::new(),
            oldest: 0,
            jobs: VecDeque::new(),
            cursor: None,
            gathered: Vec::new(),
            next: now,
            loaded: false,
            planned: None,
            heard: BTreeSet::new(),
        }
    }

    /// A digest of ours has named a box.
    pub(super) fn name(&mut self, tag: BoxTag, hour: u32) {
        if hour < self.oldest {
            return;
        }
        self.named.insert(tag, hour);
        if self.named.len() > NAMED_MAX {
            let oldest = self.named.values().min().copied().unwrap_or(hour);
            self.forget_before(oldest.saturating_add(1));
        }
    }

    /// A box was acknowledged.
    pub(super) fn forget(&mut self, tag: &BoxTag) {
        self.named.remove(tag);
    }

    pub(super) fn next_wake(&self) -> Timestamp {
        self.next
    }

    fn forget_before(&mut self, oldest: u32) {
        if oldest > self.oldest {
            self.oldest = oldest;
            self.named.retain(|_, hour| *hour >= oldest);
        }
    }

    /// The job under way is done.
    fn end_job(&mut self) {
        self.jobs.pop_front();
        (self.cursor, self.gathered) = (None, Vec::new());
    }
}

impl<S: BoxStore> Mailbox<S> {
    /// One step of making sets, if it is time. Returns the parts of sets that are durable from now on; to be published.
    ///
    /// # Errors
    /// If the store fails; the step is done again later.
    pub fn poll_set(&mut self, now: Timestamp) -> Result<Vec<SignedSet>> {
        if now < self.sets.next {
            return Ok(Vec::new());
        }
        self.plan_sets(now);
        let (mut budget, mut made) = (STEP, Vec::new());
        while budget > 0
            && let Some(job) = self.sets.jobs.front().copied()
        {
            let done = match job {
                Job::Load(tick) => self.load_digests(tick, &mut budget),
                Job::Hour(hour) => self.make_hour(now, hour, &mut budget).map(|parts| made.extend(parts)),
                Job::Day(day) => self.gather_day(now, day, &mut budget).map(|parts| made.extend(parts)),
            };
            if let Err(error) = done {
                self.sets.next = now + AGAIN;
                // What was made before it is durable: not lost, as entries ask for what they lack.
                return if made.is_empty() { Err(error) } else { Ok(made) };
            }
        }
        let hour = self.terms.params.hour();
        let border = Timestamp::ZERO + hour.saturating_mul(self.hour(now).saturating_add(1));
        self.sets.next = if self.sets.jobs.is_empty() { border } else { (now + GAP).min(border) };
        Ok(made)
    }

    /// Sets from a period on, ascending, each with all its parts, at most `limit`. `series`: the hourly or the daily ones.
    ///
    /// # Errors
    /// If the store fails or holds what is no set.
    pub fn sets(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<Vec<u8>>)>> {
        let records = self.store.records(series, from, limit)?;
        records.into_iter().map(|(number, bytes)| Ok((number, split(&bytes)?))).collect()
    }

    /// The period of the newest set.
    ///
    /// # Errors
    /// If the store fails.
    pub fn newest_set(&self, series: Series) -> Result<Option<u32>> {
        Ok(self.store.newest(series)?.map(|(number, _)| number))
    }

    /// The hour that a time lies in.
    pub(super) fn hour(&self, now: Timestamp) -> u32 {
        u32::try_from(now.periods(self.terms.params.hour())).unwrap_or(u32::MAX)
    }

    /// Every hour its jobs, newest first; once a day, or when others are heard than before, those of the days too.
    fn plan_sets(&mut self, now: Timestamp) {
        let (hour, today) = (self.hour(now), Day::at(now, self.terms.params.day));
        if self.sets.planned.is_some_and(|(planned, _)| planned == hour) {
            return;
        }
        let oldest = hour.saturating_sub(HOURS);
        self.sets.forget_before(oldest);
        if !self.sets.loaded {
            self.sets.loaded = true;
            let history = Tick::at(now - self.terms.params.digest_history, self.terms.params.tick);
            self.sets.jobs.push_back(Job::Load(history));
        }
        let heard: BTreeSet<_> = self.terms.listed.iter().filter(|id| self.peers.is_reachable(id)).copied().collect();
        let days_too = self.sets.planned.is_none_or(|(_, day)| day != today) || heard != self.sets.heard;
        // What is under way ends first; hours that wait are old by now.
        let (loads, mut days): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.sets.jobs)
            .into_iter()
            .filter(|job| !matches!(job, Job::Hour(_)))
            .partition(|job| matches!(job, Job::Load(_)));
        let begun = self.sets.cursor.and_then(|_| days.pop_front());
        if days_too {
            let first = today.0.saturating_sub(self.terms.params.box_days);
            days = (first..=today.0).rev().map(Job::Day).collect();
            self.sets.heard = heard;
        }
        let hours = (self.sets.oldest.max(oldest)..hour).rev().map(Job::Hour);
        self.sets.jobs = loads.into_iter().chain(begun).chain(hours).chain(days).collect();
        self.sets.planned = Some((hour, today));
    }

    fn load_digests(&mut self, from: Tick, budget: &mut usize) -> Result<()> {
        let read = self.store.records(Series::Digest, from.0, DIGESTS)?;
        *budget = budget.saturating_sub(STEP / 2);
        self.sets.jobs.pop_front();
        if let Some((last, _)) = read.last().filter(|_| read.len() == DIGESTS) {
            self.sets.jobs.push_front(Job::Load(Tick(last.saturating_add(1))));
        }
        for (tick, bytes) in read {
            let Ok(signed) = SignedDigest::verify(&bytes) else { continue };
            let hour = self.hour(Tick(tick).start(self.terms.params.tick));
            signed.digest().tags.iter().for_each(|tag| self.sets.name(*tag, hour));
        }
        Ok(())
    }

    fn make_hour(&mut self, now: Timestamp, hour: u32, budget: &mut usize) -> Result<Vec<SignedSet>> {
        *budget = budget.saturating_sub(1 + self.sets.named.len() / 8);
        let tags = self.sets.named.iter().filter(|(_, of)| **of == hour).map(|(tag, _)| *tag).collect();
        self.keep_set(now, Period::Hour(hour), tags)
    }

    fn gather_day(&mut self, now: Timestamp, day: u32, budget: &mut usize) -> Result<Vec<SignedSet>> {
        let bucket = Day(day.saturating_add(self.terms.params.box_days));
        let start = Cursor { bucket, id: BoxId([0; 32]) };
        let step = self.store.walk(Some(self.sets.cursor.unwrap_or(start)), *budget)?;
        let ended = step.len() < *budget || step.last().is_some_and(|last| last.at.bucket != bucket);
        *budget = budget.saturating_sub(1 + step.iter().filter(|walked| walked.at.bucket == bucket).count());
        for walked in step.into_iter().filter(|walked| walked.at.bucket == bucket) {
            let (tag, id) = (BoxTag::of(&walked.at.id), &walked.at.id);
            match &walked.others {
                None => self.sets.forget(&tag),
                // One that waits for its digest is not known to enough disks yet.
                Some(_) if self.tags.of(id).is_some() => {}
                Some(others) if self.is_ours_to_send(&self.placed(id), others) => {
                    if self.sets.gathered.len() < GATHERED_MAX {
                        self.sets.gathered.push(tag);
                    }
                }
                Some(_) => {}
            }
            self.sets.cursor = Some(walked.at);
        }
        if !ended {
            return Ok(Vec::new());
        }
        let tags = self.sets.gathered.clone();
        self.keep_set(now, Period::Day(day), tags)
    }

    fn keep_set(&mut self, now: Timestamp, period: Period, tags: Vec<BoxTag>) -> Result<Vec<SignedSet>> {
        let head = SetHead {
            network: self.terms.network,
            document: self.terms.document,
            mailbox: self.me,
            district: District(0),
            period,
            made: Tick::at(now, self.terms.params.tick),
        };
        let parts = head.sign(tags, &self.secret);
        let (series, oldest) = match period {
            Period::Hour(_) => (Series::HourlySet, self.sets.oldest),
            Period::Day(_) => {
                let today = Day::at(now, self.terms.params.day).0;
                (Series::DailySet, today.saturating_sub(self.terms.params.box_days + CLOCK_SLACK_DAYS))
            }
        };
        let record = Change::Record { series, number: period.number(), bytes: join(&parts) };
        self.store.apply(&[record])?;
        self.sets.end_job();
        if self.store.drop_records(series, oldest).is_err() {
            self.counters.store_failures += 1;
        }
        Ok(parts)
    }
}

fn join(parts: &[SignedSet]) -> Vec<u8> {
    let mut writer = Writer::default();
    for part in parts {
        writer.u32(part.as_bytes().len() as u32).put(part.as_bytes());
    }
    writer.finish()
}

fn split(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (mut reader, mut parts) = (Reader::new(bytes), Vec::new());
    while reader.remaining() > 0 {
        let part = reader.count(SET_MAX, "set").and_then(|length| reader.take(length));
        parts.push(part.map_err(|_| StoreError::Damaged("a record holds no set"))?.to_vec());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> BoxTag {
        let [_, _, tag @ ..] = (number as u64).to_be_bytes();
        BoxTag(tag)
    }

    #[test]
    fn at_the_bound_of_tags_the_oldest_hour_goes_and_takes_no_more() {
        let mut sets = Sets::new(Timestamp::ZERO);
        sets.forget_before(7);
        (0..10).for_each(|number| sets.name(tag(number), 7));
        (10..NAMED_MAX).for_each(|number| sets.name(tag(number), 8));
        assert_eq!((sets.named.len(), sets.oldest), (NAMED_MAX, 7), "as many as there may be");
        sets.name(tag(NAMED_MAX), 9);
        assert_eq!((sets.named.len(), sets.oldest), (NAMED_MAX - 9, 8), "its ten tags went");
        sets.name(tag(0), 7);
        assert_eq!(sets.named.len(), NAMED_MAX - 9);
        sets.name(tag(0), 8);
        assert_eq!(sets.named.len(), NAMED_MAX - 8);
    }
}
