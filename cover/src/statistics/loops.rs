//! Loops on their way, and those whose end is known.

use super::Evidence;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use veilpost_packet::{
    ids::{NodeId, SurbId},
    time::Timestamp,
};
use veilpost_pki::{Params, params::MAX_DELAY_MEANS};

/// Loops on their way at most: 22 s of the fastest clock that a document may ask for are 1,100; a client waits for as many replies.
pub const WAITING_MAX: usize = 8_192;
/// Loops whose end is known and remembered at most, 6 MB: four epochs of a node's loops at the default rates.
pub const RECORDS_MAX: usize = 16_384;

/// How long to wait for a loop: its own drawn delays, the mailbox's T0, and beyond that 30 mean hop delays (what the mailbox draws is
/// longer once in 10^13) and another T0 for queues, links and disks.
pub fn patience(params: &Params, drawn: Duration) -> Duration {
    let queues = params.reply_floor;
    let mailbox = params.reply_floor.saturating_add(params.hop_delay.saturating_mul(MAX_DELAY_MEANS));
    drawn.saturating_add(mailbox).saturating_add(queues)
}

/// How many loops there were, since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Came back in time.
    pub returned: u64,
    /// Did not.
    pub lost: u64,
}

#[derive(Debug)]
struct Waiting {
    sent: Timestamp,
    deadline: Timestamp,
    route: Arc<[NodeId]>,
}

#[derive(Debug)]
struct Settled {
    sent: Timestamp,
    route: Arc<[NodeId]>,
    returned: bool,
}

/// The loops of one sender. Each belongs to the time of its sending, whenever its end is known.
#[derive(Debug, Default)]
pub struct Loops {
    waiting: BTreeMap<SurbId, Waiting>,
    settled: VecDeque<Settled>,
    counts: Counts,
}

impl Loops {
    /// A loop has left. `route`: the nodes that it goes through in order, there and back, its sender too if the sender is to be
    /// measured; `deadline`: when it counts as lost, see [`patience`]. False if [`WAITING_MAX`] others are on their way: this
    /// one is not counted at all then.
    pub fn handle_sent(&mut self, id: SurbId, sent: Timestamp, deadline: Timestamp, route: Vec<NodeId>) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.counts.sent += 1;
        self.waiting.insert(id, Waiting { sent, deadline, route: route.into() });
        true
    }

    /// True if this loop is on its way.
    pub fn is_waiting(&self, id: &SurbId) -> bool {
        self.waiting.contains_key(id)
    }

    /// A loop came back; false for one that is not on its way: never sent, back before, or given up.
    pub fn handle_returned(&mut self, now: Timestamp, id: &SurbId) -> bool {
        self.handle_time(now);
        let Some(waiting) = self.waiting.remove(id) else { return false };
        self.settle(waiting, true);
        true
    }

    /// A loop will not come back, or came back changed; false for one that is not on its way.
    pub fn handle_lost(&mut self, id: &SurbId) -> bool {
        let Some(waiting) = self.waiting.remove(id) else { return false };
        self.settle(waiting, false);
        true
    }

    /// What should be back by now and is not is lost.
    pub fn handle_time(&mut self, now: Timestamp) {
        let late = |waiting: &Waiting| waiting.deadline < now;
        let gone: Vec<_> = self.waiting.iter().filter(|(_, waiting)| late(waiting)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.settle(waiting, false);
            }
        }
    }

    fn settle(&mut self, Waiting { sent, route, .. }: Waiting, returned: bool) {
        if returned {
            self.counts.returned += 1;
        } else {
            self.counts.lost += 1;
        }
        if self.settled.len() >= RECORDS_MAX {
            self.settled.pop_front();
        }
        self.settled.push_back(Settled { sent, route, returned });
    }

    /// Those on their way whose end will not be known, as when the sender stops listening: nothing is learned from them.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Forgets what was sent before this.
    pub fn forget_before(&mut self, from: Timestamp) {
        self.settled.retain(|settled| settled.sent >= from);
    }

    /// What loops tell that were sent from `from` on and before `until`. Those that were sent after one that is still on its way do not
    /// count yet: what comes back is known sooner than what is lost, so they would look better than they are.
    pub fn evidence(&self, from: Timestamp, until: Timestamp) -> Evidence {
        let open = self.waiting.values().map(|waiting| waiting.sent).min().unwrap_or(Timestamp::FAR_FUTURE);
        let mut evidence = Evidence::default();
        let within = |settled: &&Settled| settled.sent >= from && settled.sent < until.min(open);
        for Settled { route, returned, .. } in self.settled.iter().filter(within) {
            evidence.add(route, *returned);
        }
        evidence
    }

    /// How many there were.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn id(number: u64) -> SurbId {
        SurbId::new(std::array::from_fn(|at| if at < 8 { number.to_le_bytes()[at] } else { 1 })).unwrap()
    }

    fn send(loops: &mut Loops, number: u64, sent: Timestamp) -> bool {
        loops.handle_sent(id(number), sent, sent + 10 * SECOND, vec![NodeId([1; 32]), NodeId([2; 32])])
    }

    #[test]
    fn a_loop_is_lost_when_its_time_has_passed_and_not_a_moment_before() {
        let mut loops = Loops::default();
        send(&mut loops, 1, NOW);
        loops.handle_time(NOW + 10 * SECOND);
        assert_eq!(loops.counts(), Counts { sent: 1, returned: 0, lost: 0 });
        loops.handle_time(NOW + 10 * SECOND + Duration::from_nanos(1));
        assert_eq!(loops.counts(), Counts { sent: 1, returned: 0, lost: 1 });
        assert!(!loops.handle_returned(NOW + 11 * SECOND, &id(1)), "what comes later changes nothing");
    }

    #[test]
    fn a_loop_comes_back_once() {
        let mut loops = Loops::default();
        send(&mut loops, 1, NOW);
        assert!(loops.is_waiting(&id(1)) && !loops.is_waiting(&id(2)));
        assert!(!loops.handle_returned(NOW, &id(2)));
        assert!(loops.handle_returned(NOW + SECOND, &id(1)));
        assert!(!loops.handle_returned(NOW + SECOND, &id(1)));
        assert_eq!(loops.counts(), Counts { sent: 1, returned: 1, lost: 0 });
    }

    #[test]
    fn loops_count_for_the_time_of_their_sending_and_none_before_those_sent_earlier_are_settled() {
        let mut loops = Loops::default();
        for number in 0..4 {
            send(&mut loops, number, NOW + SECOND * number as u32);
        }
        let all = |loops: &Loops| loops.evidence(NOW, Timestamp::FAR_FUTURE).loops();
        for number in [3, 1, 2] {
            loops.handle_returned(NOW + 5 * SECOND, &id(number));
        }
        assert_eq!(all(&loops), 0, "the first is still on its way");
        loops.handle_time(NOW + 11 * SECOND);
        assert_eq!(all(&loops), 4);
        assert_eq!(loops.evidence(NOW + SECOND, NOW + 3 * SECOND).loops(), 2);
        loops.forget_before(NOW + 2 * SECOND);
        assert_eq!(all(&loops), 2);
    }

    #[test]
    fn more_loops_than_may_be_on_their_way_are_not_counted() {
        let mut loops = Loops::default();
        assert!((0..WAITING_MAX as u64).all(|number| send(&mut loops, number, NOW)));
        assert!(!send(&mut loops, u64::MAX, NOW));
        assert_eq!(loops.counts().sent, WAITING_MAX as u64);
        loops.forget_waiting();
        assert!(send(&mut loops, u64::MAX, NOW));
        assert_eq!(loops.counts().lost, 0);
    }

    #[test]
    fn at_the_bound_the_oldest_records_go() {
        let mut loops = Loops::default();
        for number in 0..RECORDS_MAX as u64 + 10 {
            send(&mut loops, number, NOW + SECOND * number as u32);
            loops.handle_returned(NOW + SECOND * number as u32, &id(number));
        }
        assert_eq!(loops.evidence(Timestamp::ZERO, Timestamp::FAR_FUTURE).loops(), RECORDS_MAX as u64);
        assert_eq!(loops.evidence(Timestamp::ZERO, NOW + 10 * SECOND).loops(), 0);
    }
}
