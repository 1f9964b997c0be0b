//! Packets on their way out: what is built next, and what a tick sends.

use super::{
    Core, CoreError, IN_FLIGHT_MAX,
    build::{BuildJob, Built, Made, Path, Slot, puzzle_of},
    transport::Departure,
    types::{Flight, InFlight, Prepared, Purpose},
};
use crate::{arq::Pace, store::streams::StreamKind, traffic::Tick};
use veilpost_packet::{
    command::Command as MailboxCommand,
    exchange::{Exchange, Way},
    frame::{Flags, Frame, FrameKind, Want},
    ids::{BoxId, NodeId, SurbId},
    random::{self, EngineRng},
    sphinx::Hop,
    time::Timestamp,
};
use veilpost_pki::{Document, Params, topology};

impl Core {
    /// The next packet to build. The shell runs it on a worker and hands the result to [`Core::handle_built`].
    pub fn poll_job(&mut self, now: Timestamp) -> Option<BuildJob> {
        self.notice_time(now);
        if self.document.as_ref().is_none_or(|document| now >= document.valid_until) {
            return None;
        }
        self.connection.as_ref()?.clocks.as_ref()?;
        match self.next_work(now) {
            Ok(Some((purpose, command, mailbox))) => self.job(purpose, command, mailbox),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "nothing can be prepared for sending");
                None
            }
        }
    }

    fn job(&mut self, purpose: Purpose, command: MailboxCommand, mailbox: Option<NodeId>) -> Option<BuildJob> {
        let document = self.document.clone()?;
        let mailbox = match mailbox {
            Some(id) => id,
            None => random::pick(&mut self.rng, &document.mailboxes)?.id,
        };
        let path = self.path(&document, &mailbox)?;
        let connection = self.connection.as_ref()?;
        self.jobs += 1;
        let job = BuildJob {
            number: self.jobs,
            session: connection.number,
            epoch: document.epoch,
            document: document.hash(),
            path,
            mailbox,
            puzzle: puzzle_of(&document, &command, &mailbox),
            command,
        };
        self.preparing.extend(purpose.preparing());
        self.connection.as_mut()?.building.insert(job.number, purpose);
        Some(job)
    }

    /// The way there and back: a fresh route, or none.
    fn path(&mut self, document: &Document, mailbox: &NodeId) -> Option<Path> {
        let connection = self.connection.as_ref()?;
        if connection.transport.is_direct() {
            return Some(Path::Direct(fresh_id(&mut self.rng)));
        }
        let entry = connection.entry?;
        let session = Hop { address: connection.address.0, key: connection.secret.public() };
        let there = topology::forward_route(&mut self.rng, document, &self.middle, &entry, mailbox)?;
        let back = topology::reply_route(&mut self.rng, document, &self.middle, &entry, session)?;
        let surb_id = fresh_id(&mut self.rng);
        let mut way = |hops: Vec<Hop>| Way {
            secret: random::bytes(&mut self.rng),
            hops,
            delays: topology::delays(&mut self.rng, document).to_vec(),
        };
        let (there, back) = (way(there.to_vec()), way(back.to_vec()));
        Some(Path::Mixes(Box::new(Exchange { there, surb_id, back })))
    }

    /// The box that a job writes, and whether it is a decoy: what a simulation compares an observer's guesses with.
    pub fn written_by(&self, job: &BuildJob) -> Option<(BoxId, bool)> {
        let purpose = self.connection.as_ref()?.building.get(&job.number)?;
        let Purpose::Put(id, _) = purpose else { return None };
        let outgoing = self.outbox.get(id)?;
        Some((outgoing.sealed.id, outgoing.kind == StreamKind::Decoys))
    }

    /// A finished packet. One for a session or document that is over is dropped; its content is prepared anew.
    pub fn handle_built(&mut self, built: Built) {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.number == built.session) else {
            return;
        };
        let Some(purpose) = connection.building.remove(&built.number) else { return };
        let slot = purpose.slot();
        let prepared = Prepared { purpose, built };
        match slot {
            Slot::Put => connection.ready.puts.push_back(prepared),
            Slot::Decoy => connection.ready.decoy = Some(prepared),
            Slot::Upkeep => connection.ready.upkeep = Some(prepared),
            Slot::Get => connection.ready.gets.push_back(prepared),
            Slot::Loop => connection.ready.loops.push_back(prepared),
        }
    }

    /// What the next tick that is due sends.
    pub fn poll_departure(&mut self, now: Timestamp) -> Option<Departure> {
        self.notice_time(now);
        self.forget_stale(now);
        loop {
            if let Some(want) = self.connection.as_mut().and_then(|connection| connection.want.take()) {
                return Some(Departure::Entry(want.to_frame()));
            }
            let document = self.document.as_ref().filter(|document| now < document.valid_until)?;
            let params = document.params.clone();
            let connection = self.connection.as_mut()?;
            let rates = params.rates(connection.profile);
            let tick = connection.clocks.as_mut()?.poll(now, &rates)?;
            if tick == Tick::Loop
                && let Some(want) = self.want_at_loop(now, &params)
            {
                return Some(Departure::Entry(want.to_frame()));
            }
            let connection = self.connection.as_mut()?;
            let Some(prepared) = connection.ready.take(tick) else {
                self.counters.unready_ticks += 1;
                continue;
            };
            if let Some(departure) = self.handle_sending(now, prepared, &params) {
                self.counters.sent += 1;
                return Some(departure);
            }
        }
    }

    /// The Want that takes the place of a Loop. Without mixes none does, or a tick would open no circuit: there each Loop has a Want
    /// beside it, which may ask for nothing, so that the entry's line does not show either when something is wanted.
    fn want_at_loop(&mut self, now: Timestamp, params: &Params) -> Option<Want> {
        let want = self.next_want(now, params);
        let connection = self.connection.as_mut().filter(|connection| connection.transport.is_direct());
        let Some(connection) = connection else { return want };
        connection.want = Some(want.unwrap_or(Want::NOTHING));
        None
    }

    /// A packet is about to leave.
    pub(super) fn handle_sent(&mut self, now: Timestamp, purpose: &Purpose, pace: Pace) -> Result<(), CoreError> {
        match purpose {
            Purpose::Put(id, _) => self.handle_put_sent(now, *id, pace),
            Purpose::Get(key, _) => self.handle_get_sent(now, *key, pace),
            Purpose::Audit(id) => self.handle_audit_sent(now, *id, pace),
            Purpose::Ack | Purpose::Loop => Ok(()),
        }
    }

    fn handle_sending(&mut self, now: Timestamp, prepared: Prepared, params: &Params) -> Option<Departure> {
        let Prepared { purpose, built } = prepared;
        let made = built.result.inspect_err(|error| tracing::error!(%error, "packet")).ok()?;
        if let Err(error) = self.handle_sent(now, &purpose, Pace(params.hurry)) {
            // A packet leaves only after its commit. A tick without a frame is seen; a disk that fails is worse.
            tracing::error!(%error, "nothing is sent, as the disk does not keep what was sent");
            return None;
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            let oldest = self.in_flight.iter().min_by_key(|(_, flight)| flight.sent).map(|(id, _)| *id);
            oldest.map(|id| self.in_flight.remove(&id));
        }
        let (departure, recovery) = match made {
            Made::Packet(packet, recovery) => {
                self.suspicion.handle_sent(now, built.surb_id, &built.nodes);
                let frame = Frame::new(FrameKind::Packet, Flags::for_epoch(built.epoch), packet.as_bytes());
                (Some(Departure::Entry(frame.expect("a packet fills a frame's body exactly"))), Some(recovery))
            }
            // No entry is on its way that could be to blame for what does not come back.
            Made::Command(frame) => {
                let flight = Flight { id: built.surb_id, mailbox: &built.mailbox, document: built.document };
                let command = self.direct(&flight, frame).or_else(|| self.direct_loop(built.document));
                (command.map(Departure::Mailbox), None)
            }
        };
        self.in_flight.insert(
            built.surb_id,
            InFlight { purpose, mailbox: built.mailbox, document: built.document, recovery, sent: now },
        );
        departure
    }
}

/// The name by which an answer is known.
pub(super) fn fresh_id(rng: &mut EngineRng) -> SurbId {
    loop {
        if let Some(id) = SurbId::new(random::bytes(rng)) {
            return id;
        }
    }
}
