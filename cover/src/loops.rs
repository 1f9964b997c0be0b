//! A node's own loops, without IO: when one leaves, by which way, and what came back.
//!
//! Call order: [`Cover::follow`] with the document in force, [`Cover::poll_job`] until it gives nothing (each job is run on a worker
//! and handed to [`Cover::handle_built`]), [`Cover::poll_evidence`], then [`Cover::poll_packet`] until it gives nothing, then sleep until [`Cover::next_wake`].
//! [`Cover::handle_returned`] for what ends here.

use crate::{
    findings::Findings,
    routes,
    statistics::{Counts, Evidence, Loops, patience},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};
use veilpost_packet::{
    command::Command,
    exchange::{Exchange, Way},
    frame::Flags,
    geometry::KEY,
    ids::{NodeId, SurbId},
    random::{EngineRng, bytes, exponential},
    sphinx::{BuildError, Hop, Packet, SealedPayload, SurbRecovery},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{Document, Params};

/// Packets kept ready: at the fastest clock that a document may ask for, four ticks within the 1.3 ms that one takes to build are a
/// matter of years.
const AHEAD: usize = 4;
/// After a pause of the daemon longer than this the clock starts anew instead of sending what was missed in a burst.
const MISSED_MAX: Duration = Duration::from_secs(1);

/// How many times an epoch the node looks at what its loops tell.
const LOOKS: u32 = 16;

/// A loop to be built by a worker.
#[derive(Debug)]
pub struct LoopJob {
    epoch: Epoch,
    exchange: Exchange,
    route: Vec<NodeId>,
    patience: Duration,
}

/// A loop that waits for its tick.
#[derive(Debug)]
pub struct BuiltLoop {
    epoch: Epoch,
    surb_id: SurbId,
    to: Option<NodeId>,
    route: Vec<NodeId>,
    patience: Duration,
    result: Result<(Packet, SurbRecovery), BuildError>,
}

impl LoopJob {
    /// Makes SURB and packet: up to 1.2 ms.
    pub fn run(self) -> BuiltLoop {
        self.run_with(Exchange::build)
    }

    /// As [`LoopJob::run`], with packets that `make` makes: a simulation's.
    pub fn run_with(
        self,
        make: impl FnOnce(&Exchange, &Command) -> Result<(Packet, SurbRecovery), BuildError>,
    ) -> BuiltLoop {
        BuiltLoop {
            epoch: self.epoch,
            surb_id: self.exchange.surb_id,
            to: self.exchange.there.hops.first().map(|hop| NodeId(hop.address)),
            result: make(&self.exchange, &Command::Loop),
            route: self.route,
            patience: self.patience,
        }
    }
}

/// A loop whose tick has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The first node on its way, which this node has a link to.
    pub to: NodeId,
    /// Flags of the frame.
    pub flags: Flags,
    /// The packet.
    pub packet: Packet,
}

/// What was counted besides [`Counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mishaps {
    /// Loops that came back changed: somebody on their way tags packets. They count as lost.
    pub changed: u64,
    /// Ticks without a packet that was ready.
    pub unready: u64,
}

/// The loops of one node.
pub struct Cover {
    me: NodeId,
    rng: EngineRng,
    document: Option<Document>,
    next: Option<Timestamp>,
    building: usize,
    ready: VecDeque<BuiltLoop>,
    /// Of the loops on their way.
    recoveries: BTreeMap<SurbId, SurbRecovery>,
    loops: Loops,
    mishaps: Mishaps,
    next_look: Timestamp,
    findings: Findings,
}

impl Cover {
    /// A node without loops: its clock starts with its first document.
    pub fn new(me: NodeId, rng: EngineRng) -> Self {
        Self {
            me,
            rng,
            document: None,
            next: None,
            building: 0,
            ready: VecDeque::new(),
            recoveries: BTreeMap::new(),
            loops: Loops::default(),
            mishaps: Mishaps::default(),
            next_look: Timestamp::ZERO,
            findings: Findings::default(),
        }
    }

    /// The document in force, if it lists this node and packets of its epoch are taken here; `None` stops the clock.
    pub fn follow(&mut self, now: Timestamp, document: Option<&Document>) {
        let of = |document: &Document| (document.epoch, document.hash());
        if self.document.as_ref().map(of) == document.map(of) {
            return;
        }
        self.document = document.cloned();
        match (&self.document, self.next) {
            (None, _) => self.next = None,
            (Some(document), None) => self.next = Some(now + exponential(&mut self.rng, document.params.node_loop_gap)),
            (Some(_), Some(_)) => {}
        }
    }

    /// The next loop to build.
    pub fn poll_job(&mut self) -> Option<LoopJob> {
        let document = self.document.clone()?;
        let fresh = self.ready.iter().filter(|ready| ready.epoch == document.epoch).count();
        if self.building + fresh >= AHEAD {
            return None;
        }
        let (there, back) = routes::draw(&mut self.rng, &document, &self.me)?;
        let surb_id = SurbId::new(bytes(&mut self.rng))?;
        let nodes = there.iter().chain(&back).map(|hop| NodeId(hop.address));
        let route = std::iter::once(self.me).chain(nodes).collect();
        let exchange =
            Exchange { there: self.way(there, &document.params), surb_id, back: self.way(back, &document.params) };
        self.building += 1;
        let patience = patience(&document.params, exchange.delay());
        Some(LoopJob { epoch: document.epoch, exchange, route, patience })
    }

    fn way(&mut self, hops: Vec<Hop>, params: &Params) -> Way {
        let secret: [u8; KEY] = bytes(&mut self.rng);
        let delays = hops.iter().skip(1).map(|_| exponential(&mut self.rng, params.hop_delay)).collect();
        Way { secret, hops, delays }
    }

    /// A job is done.
    pub fn handle_built(&mut self, built: BuiltLoop) {
        self.building = self.building.saturating_sub(1);
        self.ready.push_back(built);
    }

    /// The loop of the next tick that is due. A tick for which none is ready passes.
    pub fn poll_packet(&mut self, now: Timestamp) -> Option<Departure> {
        loop {
            let (epoch, gap) =
                self.document.as_ref().map(|document| (document.epoch, document.params.node_loop_gap))?;
            let due = self.next.filter(|next| *next <= now)?;
            let from = if now.since(due) > MISSED_MAX { now } else { due };
            self.next = Some(from + exponential(&mut self.rng, gap));
            match self.take_ready(epoch) {
                Some(built) => {
                    if let Some(departure) = self.depart(now, built) {
                        return Some(departure);
                    }
                }
                None => self.mishaps.unready += 1,
            }
        }
    }

    /// One of this epoch. Those of an epoch before are good for as long as its keys are, which is long enough for the first tick of this.
    fn take_ready(&mut self, epoch: Epoch) -> Option<BuiltLoop> {
        let fresh = self.ready.iter().position(|ready| ready.epoch == epoch);
        let taken = self.ready.remove(fresh.unwrap_or(0));
        if fresh.is_some() {
            self.ready.retain(|ready| ready.epoch == epoch);
        }
        taken
    }

    fn depart(&mut self, now: Timestamp, built: BuiltLoop) -> Option<Departure> {
        let (packet, recovery) = built.result.ok()?;
        let to = built.to?;
        self.handle_time(now);
        if self.loops.handle_sent(built.surb_id, now, now + built.patience, built.route) {
            self.recoveries.insert(built.surb_id, recovery);
        }
        Some(Departure { to, flags: Flags::for_epoch(built.epoch), packet })
    }

    /// What should be back by now and is not is lost.
    pub fn handle_time(&mut self, now: Timestamp) {
        self.loops.handle_time(now);
        let loops = &self.loops;
        self.recoveries.retain(|id, _| loops.is_waiting(id));
    }

    /// True if this names a loop of ours that is on its way.
    pub fn is_waiting(&self, id: &SurbId) -> bool {
        self.loops.is_waiting(id)
    }

    /// An answer whose route ends here. False for one that is not on its way, and for one that was changed, which counts as lost.
    pub fn handle_returned(&mut self, now: Timestamp, id: &SurbId, payload: &SealedPayload) -> bool {
        self.handle_time(now);
        let Some(recovery) = self.recoveries.remove(id) else { return false };
        if recovery.open(payload).is_some() {
            self.loops.handle_returned(now, id)
        } else {
            self.mishaps.changed += 1;
            self.loops.handle_lost(id);
            false
        }
    }

    /// When the next tick is, or the next look at what loops tell.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.next.map(|next| next.min(self.next_look))
    }

    /// What loops of the last epoch tell, whatever time of an epoch it is: each sixteenth of an epoch. Hand what
    /// [`crate::findings::find`] says of it, on a worker, to [`Cover::handle_findings`].
    pub fn poll_evidence(&mut self, now: Timestamp) -> Option<Evidence> {
        let epoch = self.document.as_ref().filter(|_| self.next_look <= now)?.params.epoch;
        self.next_look = now + epoch / LOOKS;
        self.handle_time(now);
        self.loops.forget_before(now - epoch);
        Some(self.loops.evidence(now - epoch, Timestamp::FAR_FUTURE))
    }

    /// What the evidence says.
    pub fn handle_findings(&mut self, findings: Findings) {
        self.findings = findings;
    }

    /// What was found last.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// How many loops there were.
    pub fn counts(&self) -> Counts {
        self.loops.counts()
    }

    /// What went wrong besides.
    pub fn mishaps(&self) -> Mishaps {
        self.mishaps
    }
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cover").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
