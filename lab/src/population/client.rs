//! One client: its clocks, what waits for their ticks, and which of it a tick takes. The order is that of `client::core::writing`.

use super::{
    setup::{Decoys, Design},
    view::Id,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};
use veilpost_client::{
    arq::{GetRetry, PutRetry},
    balance::Balance,
    traffic::{Clocks, Tick},
};
use veilpost_packet::{random::EngineRng, time::Timestamp};

/// A box with what its writer and its reader do about it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) put: PutRetry,
    pub(super) get: GetRetry,
    pub(super) holders: [u8; 2],
    /// When it is on both disks; `None` before it came to one.
    pub(super) durable: Option<Timestamp>,
    /// Its reader has it.
    pub(super) read: bool,
    /// Its reader never acknowledges it.
    pub(super) unacked: bool,
    /// Its reader waits so long, as if away.
    pub(super) absence: std::time::Duration,
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Job {
    Put(Id),
    Get(Id),
    /// A stored box is read back by its writer.
    Audit(Id),
    /// A box is asked for that may not be there.
    Poll(Id),
    Ack(Id),
    /// A decoy that is made now.
    Decoy,
    /// The next piece of the oldest file.
    Piece,
    Loop,
}

type Due = BinaryHeap<Reverse<(Timestamp, Job)>>;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) rng: EngineRng,
    /// `None` while offline.
    pub(super) clocks: Option<Clocks>,
    pub(super) connected: Timestamp,
    /// When it goes offline.
    pub(super) leaves: Timestamp,
    /// Real boxes that were never sent.
    pub(super) puts: VecDeque<Id>,
    /// Files with how many pieces are not sealed yet.
    pub(super) files: VecDeque<(u32, u32)>,
    /// Reads and audits for the get clock, by when they are due.
    pub(super) gets: Due,
    /// Copies and repeats.
    pub(super) upkeep: Due,
    pub(super) acks: Due,
    /// Contacts that wait for receipts, one entry for each.
    pub(super) receipts: Vec<u32>,
    /// Boxes that were named while it was offline.
    pub(super) missed: Vec<Id>,
    /// Which decoys give way to boxes that it reads.
    pub(super) balance: Balance,
    /// Whose box it polls next.
    pub(super) turn: usize,
    /// Real boxes leave on a clock of their own, which runs.
    pub(super) extra: bool,
}

impl Client {
    pub(super) fn new(rng: EngineRng) -> Self {
        Self {
            rng,
            clocks: None,
            connected: Timestamp::ZERO,
            leaves: Timestamp::FAR_FUTURE,
            puts: VecDeque::new(),
            files: VecDeque::new(),
            gets: Due::new(),
            upkeep: Due::new(),
            acks: Due::new(),
            receipts: Vec::new(),
            missed: Vec::new(),
            balance: Balance::default(),
            turn: 0,
            extra: false,
        }
    }

    /// What a tick of the clocks sends, but for polls.
    pub(super) fn choose(&mut self, now: Timestamp, tick: Tick, design: &Design, parcels: &[Parcel]) -> Job {
        match tick {
            Tick::PutSlot => match design.decoys {
                Decoys::Additive => Job::Decoy,
                Decoys::Replaced => self.next_real().unwrap_or(Job::Decoy),
                Decoys::None => self.next_real().unwrap_or_else(|| self.next_upkeep(now, parcels)),
            },
            Tick::Upkeep => self.next_upkeep(now, parcels),
            Tick::Get => take(&mut self.gets, now).unwrap_or(Job::Loop),
            Tick::Loop => Job::Loop,
        }
    }

    /// The oldest real box, messages before files.
    pub(super) fn next_real(&mut self) -> Option<Job> {
        let put = self.puts.pop_front().map(Job::Put);
        put.or_else(|| (!self.files.is_empty()).then_some(Job::Piece))
    }

    fn next_upkeep(&mut self, now: Timestamp, parcels: &[Parcel]) -> Job {
        while let Some(Reverse((due, _))) = self.upkeep.peek().copied() {
            let Some(job) = take(&mut self.upkeep, now) else { break };
            // What was answered meanwhile is not sent again.
            let planned = match job {
                Job::Put(id) => parcels.get(id as usize).and_then(|parcel| parcel.put.next),
                Job::Get(id) => parcels.get(id as usize).and_then(|parcel| parcel.get.next),
                _ => None,
            };
            if planned == Some(due) {
                return job;
            }
        }
        take(&mut self.acks, now).unwrap_or(Job::Loop)
    }
}

fn take(from: &mut Due, now: Timestamp) -> Option<Job> {
    let Reverse((due, job)) = from.peek().copied()?;
    if due > now {
        return None;
    }
    from.pop();
    Some(job)
}
