//! The client's engine: commands, frames and finished packets come in; frames, jobs, events and answers come out. It opens no
//! socket, reads no clock and draws from its own seeded generator only. Its one dependence on the outside is the store, which
//! the caller hands in (on disk, or in memory for simulations).
//!
//! ```text
//! handle_command ----+                                 +--> poll_answer, poll_event     (to the local API)
//! handle_connected --+   store: one transaction each   +--> poll_job -> worker -> handle_built
//! handle_frame ------+-> memory follows after commit --+--> poll_departure              (to the entry, or a mailbox)
//! handle_delivered --+                                 +--> next_wake
//! handle_replied ----+
//! ```
//! | module | holds |
//! |---|---|
//! | `work` | what happens inside one transaction |
//! | `writing` | boxes on their way out: slots, copies, files, decoys |
//! | `auditing` | do mailboxes keep what they sign for |
//! | `beacon` | a box a day for every contact, which ends any absence |
//! | `keeping` | boxes whose reader is away |
//! | `restarting` | conversations that begin anew after a backup was put back |
//! | `succession` | streams of messages that follow one another |
//! | `answers` | what mailboxes say to what was put |
//! | `filing` | files |
//! | `status` | what a person sees |
//! | `reading` | digests, windows, boxes on their way in |
//! | `holding` | from boxes to messages, in an order that the session survives |
//! | `online` | the clock by which it waits |
//! | `jumps` | a computer's clock that is set |
//! | `profile` | how much traffic the person chose to make |
//! | `transport` | which way to the network the person chose; commands without mixes |
//! | `watch`, `suspicion` | whether replies stay away, and whether the entry is why |
//! | `inviting` | invitations made and opened |
//! | `evidence` | when a box counts as stored, and who said so |
//! | `asking` | contacts, safety numbers, texts and files to send |
//! | `session`, `sending` | connections; packets that are built and sent |
//! | `types` | errors, answers, what is remembered of packets on their way |
//! | `parcel` | how sealed messages lie in boxes |
//! | `build` | jobs for the packet workers |

mod answers;
mod asking;
mod auditing;
mod beacon;
mod build;
mod epochs;
mod evidence;
mod filing;
mod holding;
mod inviting;
mod jumps;
mod keeping;
mod online;
mod parcel;
mod profile;
mod reading;
mod restarting;
mod sending;
mod session;
mod status;
mod succession;
mod suspicion;
mod transport;
mod types;
pub mod watch;
mod work;
mod writing;

pub use build::{BuildJob, Built};
pub use jumps::ClockJump;
pub use profile::Offers;
pub use transport::{Departure, DirectCommand};
pub use types::{Answer, CoreError, Counters, Session, Status, Ticket};
pub use work::Event;

use crate::{
    balance::Balance,
    digests::DigestTracker,
    guards::Guards,
    sets::SetTracker,
    store::{
        Store,
        audits::Audit,
        contacts::ContactId,
        digests,
        outbox::{self, OutboxId, Outgoing},
        streams::{self, Fetch, FetchKey, StreamId, StreamKind},
    },
    traffic::Clocks,
    transport::Transport,
};
use jumps::Jumps;
use online::OnlineClock;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use suspicion::Suspicion;
use types::{Connection, InFlight, PendingAck, Preparing, Purpose, WaitingAccept, WaitingInvite};
use veilpost_packet::{
    boxes::{BoxTag, StreamRoot},
    codec::DecodeError,
    command::{Answer as MailboxAnswer, Reply},
    frame::{Frame, FrameKind},
    ids::{DocumentHash, NodeId, SurbId},
    profile::Profile,
    random::{self, EngineRng},
    sphinx::Unwrapped,
    time::{Tick, Timestamp},
};
use veilpost_pki::{AuthoritySet, Document, Documents, Params};
use work::{Effects, Work};

/// Replies older than this are dropped and counted: what comes later tells more about a path than it is worth.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(60);
/// Packets whose replies are awaited at most; beyond it the oldest is given up. At default rates about 60 are out.
const IN_FLIGHT_MAX: usize = 8_192;
/// Acknowledgements that wait at most.
const ACKS_MAX: usize = 1_000;
/// Events that wait for the shell at most; beyond it the oldest is dropped, and a shell reads the history anew.
const EVENTS_MAX: usize = 4_096;
/// How long something that went wrong is shown in the status.
const WARNING: Duration = Duration::from_secs(3_600);
/// How often old digests and receipts are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// The engine.
pub struct Core {
    store: Store,
    rng: EngineRng,
    authorities: AuthoritySet,
    documents: Documents,
    /// The document in use: of `documents`, the one in force, or the last one that was.
    document: Option<Document>,
    guards: Guards,
    middle: Vec<NodeId>,
    connection: Option<Connection>,
    connections: u64,
    online: OnlineClock,
    jobs: u64,
    outbox: BTreeMap<OutboxId, Outgoing>,
    files: Vec<StreamId>,
    decoys: Option<StreamId>,
    fetches: BTreeMap<FetchKey, Fetch>,
    balance: Balance,
    expected: BTreeMap<BoxTag, Vec<FetchKey>>,
    watched: BTreeMap<StreamId, u64>,
    tracker: DigestTracker,
    sets: SetTracker,
    unsaved_digests: Vec<veilpost_packet::digest::SignedDigest>,
    preparing: BTreeSet<Preparing>,
    in_flight: BTreeMap<SurbId, InFlight>,
    acks: VecDeque<PendingAck>,
    events: VecDeque<Event>,
    answers: VecDeque<(Ticket, Result<Answer, CoreError>)>,
    invites: BTreeMap<ContactId, WaitingInvite>,
    accepts: BTreeMap<ContactId, WaitingAccept>,
    next_housekeeping: Timestamp,
    mailbox_full: Option<Timestamp>,
    other_document: Option<Timestamp>,
    /// Why a document of the entry was refused.
    refused_document: Option<(Timestamp, String)>,
    refused: Option<Timestamp>,
    audits: BTreeMap<OutboxId, Audit>,
    /// At most one for each mailbox that a document has listed.
    records: BTreeMap<NodeId, auditing::Record>,
    conflict: Option<Timestamp>,
    clock_slow: Option<Timestamp>,
    jumps: Jumps,
    /// As the person chose; a connection keeps the one that it began with.
    profile: Profile,
    /// The same.
    transport: Transport,
    suspicion: Suspicion,
    counters: Counters,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Core {
    /// Takes up where the store left off.
    ///
    /// # Errors
    /// If the store cannot be read or has no account.
    pub fn new(now: Timestamp, store: Store, authorities: AuthoritySet, rng: EngineRng) -> Result<Self, CoreError> {
        let connection = store.connection();
        crate::store::account::load(connection)?;
        let tracker = DigestTracker::new(now, &digests::chains(connection)?, digests::tags(connection)?);
        let sets = SetTracker::new(now, crate::store::sets::all(connection)?);
        let online = OnlineClock::load(connection)?;
        let profile = crate::store::meta::profile(connection)?;
        let transport = crate::store::meta::transport(connection)?;
        let outbox = outbox::unfinished(connection)?.into_iter().map(|out| (out.id, out)).collect();
        let files = streams::of_kinds(connection, &[StreamKind::FileOut])?.iter().map(|stream| stream.id).collect();
        let mut core = Self {
            documents: Documents::default(),
            document: None,
            guards: Guards::default(),
            middle: Vec::new(),
            store,
            rng,
            authorities,
            connection: None,
            connections: 0,
            online,
            jobs: 0,
            outbox,
            files,
            decoys: None,
            fetches: BTreeMap::new(),
            balance: Balance::default(),
            expected: BTreeMap::new(),
            watched: BTreeMap::new(),
            tracker,
            sets,
            unsaved_digests: Vec::new(),
            preparing: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            acks: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            invites: BTreeMap::new(),
            accepts: BTreeMap::new(),
            next_housekeeping: now,
            mailbox_full: None,
            other_document: None,
            refused_document: None,
            refused: None,
            audits: BTreeMap::new(),
            records: BTreeMap::new(),
            conflict: None,
            clock_slow: None,
            jumps: Jumps::default(),
            profile,
            transport,
            suspicion: Suspicion::default(),
            counters: Counters::default(),
        };
        core.load_documents(now)?;
        core.load_reading(now)?;
        core.load_audits()?;
        Ok(core)
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Gives the store back, as the end of a process does: everything else is forgotten.
    pub fn into_store(self) -> Store {
        self.store
    }

    /// The document in use.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A frame from the entry. Packets come through [`Core::handle_delivered`] instead, unwrapped.
    ///
    /// # Errors
    /// A stream that cannot be followed any more: close the link. Bad documents and digests are dropped with a warning.
    pub fn handle_frame(&mut self, now: Timestamp, frame: &Frame) -> Result<(), DecodeError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match frame.kind() {
            FrameKind::Document => {
                for record in connection.documents.push(frame.body())? {
                    if let Err(error) = self.handle_document(now, &record) {
                        tracing::warn!(%error, "a network document was refused");
                        self.refused_document = Some((now, error.to_string()));
                    }
                }
            }
            FrameKind::Set => {
                for record in connection.sets.push(frame.body())? {
                    self.handle_set(now, &record);
                }
            }
            FrameKind::Digest => {
                for record in connection.digests.push(frame.body())? {
                    self.handle_digest(now, &record);
                }
            }
            // Packets come unwrapped, and nothing else is for clients.
            _ => {}
        }
        Ok(())
    }

    /// A reply that came for this session, unwrapped by the shell.
    pub fn handle_delivered(&mut self, now: Timestamp, unwrapped: Unwrapped) {
        let Unwrapped::Deliver { surb: Some(id), payload, .. } = unwrapped else {
            self.counters.bad_replies += 1;
            return;
        };
        let opened = self.take_flight(now, &id).and_then(|flight| {
            let reply = Reply::decode(&flight.recovery.as_ref()?.open(&payload)?).ok()?;
            Some((flight, reply))
        });
        self.handle_reply(now, &id, opened);
    }

    /// What is awaited under this name, unless it comes too late.
    fn take_flight(&mut self, now: Timestamp, id: &SurbId) -> Option<InFlight> {
        self.in_flight.remove(id).filter(|flight| now.since(flight.sent) <= REPLY_DEADLINE)
    }

    /// A reply, with what it was awaited for; `None` for one that is neither awaited nor whole.
    fn handle_reply(&mut self, now: Timestamp, id: &SurbId, opened: Option<(InFlight, Reply)>) {
        let Some((flight, reply)) = opened else {
            self.counters.bad_replies += 1;
            return;
        };
        if flight.document != reply.document {
            self.counters.bad_replies += 1;
            self.other_document = Some(now);
            return;
        }
        self.counters.replies += 1;
        self.suspicion.handle_returned(now, id);
        if let Err(error) = self.handle_answer(now, &flight.purpose, &flight.document, flight.mailbox, reply.answer) {
            // The disk or the database: the box is asked for or sent again later.
            tracing::error!(%error, "a reply could not be kept");
        }
    }

    /// What a mailbox answered to a packet that was made from this document.
    fn handle_answer(
        &mut self,
        now: Timestamp,
        purpose: &Purpose,
        document: &DocumentHash,
        mailbox: NodeId,
        answer: MailboxAnswer,
    ) -> Result<(), CoreError> {
        match purpose {
            Purpose::Put(id, _) => self.handle_put_answer(now, *id, document, mailbox, answer),
            Purpose::Get(key, _) => self.handle_get_answer(now, *key, mailbox, answer),
            Purpose::Audit(id) => self.handle_audit_answer(now, *id, &answer),
            Purpose::Ack | Purpose::Loop => Ok(()),
        }
    }

    /// Work that waits for time alone: receipts, digests to keep, replies that never came.
    pub fn handle_timers(&mut self, now: Timestamp) {
        self.notice_time(now);
        self.count_online(now);
        self.answer_late(now);
        self.follow_documents(now);
        self.forget_stale(now);
        if now < self.next_housekeeping {
            return;
        }
        self.next_housekeeping = now + HOUSEKEEPING;
        let Some(params) = self.document.as_ref().map(|document| document.params.clone()) else { return };
        self.next_housekeeping = now + params.hurry(HOUSEKEEPING);
        let before = self.in_flight.len();
        self.in_flight.retain(|_, flight| now.since(flight.sent) <= REPLY_DEADLINE);
        self.counters.lost += (before - self.in_flight.len()) as u64;
        self.watch_entry(now, &params);
        let oldest = Tick::at(now - params.digest_history, params.tick);
        self.tracker.forget_before(oldest);
        self.sets.forget_old(now, &params);
        let wanted = self.sets.changed();
        let unsaved = std::mem::take(&mut self.unsaved_digests);
        let kept = self.transaction(now, |work| {
            for signed in &unsaved {
                digests::insert(work.tx, signed.digest(), signed.hash())?;
            }
            // Before the digests that say since when we were away are forgotten.
            if let Some(wanted) = &wanted {
                crate::store::sets::replace(work.tx, wanted)?;
            }
            digests::remove_before(work.tx, oldest)?;
            work.expire_invitations()?;
            work.open_overdue()?;
            work.renew_due()?;
            work.keep_streams()?;
            work.keep_beacons()?;
            work.send_waiting()?;
            work.send_due_receipts()
        });
        if kept.is_ok() {
            self.sets.saved();
        }
        let kept = kept.and_then(|()| self.save_online(&params)).and_then(|()| self.end_silent_audits(now));
        if let Err(error) = kept {
            tracing::error!(%error, "housekeeping failed and is tried again");
            self.unsaved_digests = unsaved;
        }
        self.log_backlog(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next answer to a command that took time.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Result<Answer, CoreError>)> {
        self.answers.pop_front()
    }

    /// When to call again at the latest, if nothing comes in.
    pub fn next_wake(&self, now: Timestamp) -> Timestamp {
        // Without a document that is good nothing is sent, so their ticks wait, however long they have been due.
        let good = self.document.as_ref().is_some_and(|document| now < document.valid_until);
        let clocks = self.connection.as_ref().filter(|_| good).and_then(|connection| connection.clocks.as_ref());
        let tick = clocks.map_or(Timestamp::FAR_FUTURE, Clocks::next_wake);
        let invites = self.invites.values().map(|invite| invite.until);
        let answers = invites.chain(self.accepts.values().map(|accept| accept.until)).min();
        let change = self.documents.next_change(now).unwrap_or(Timestamp::FAR_FUTURE);
        tick.min(change).min(self.next_housekeeping).min(answers.unwrap_or(Timestamp::FAR_FUTURE))
    }

    /// Runs one transaction and lets memory follow it.
    fn transaction<T>(
        &mut self,
        now: Timestamp,
        run: impl FnOnce(&mut Work<'_>) -> Result<T, CoreError>,
    ) -> Result<T, CoreError> {
        let params = self.document.as_ref().map_or_else(Params::standard, |document| document.params.clone());
        let (rng, network, online) = (&mut self.rng, self.authorities.network(), self.online.total());
        let (value, effects) = self.store.transaction(|tx| {
            let mut work = Work { tx, now, online, rng, network, params: &params, effects: Effects::default() };
            let value = run(&mut work)?;
            Ok::<_, CoreError>((value, work.effects))
        })?;
        self.apply_effects(now, effects)?;
        Ok(value)
    }

    fn apply_effects(&mut self, now: Timestamp, effects: Effects) -> Result<(), CoreError> {
        self.outbox.extend(effects.outgoing.into_iter().map(|out| (out.id, out)));
        for id in effects.withdrawn {
            self.outbox.remove(&id);
            self.audits.remove(&id);
        }
        for id in effects.settled {
            self.drop_late_audit(now, id)?;
            if let Some(out) = self.outbox.get_mut(&id) {
                (out.message, out.kept) = (None, false);
                out.retry.handle_stored();
                if out.retry.is_finished() {
                    self.outbox.remove(&id);
                }
            }
        }
        for stream in effects.removed {
            self.forget_stream(stream);
        }
        for fetch in effects.fetches {
            self.take_fetch(fetch);
        }
        for event in effects.events {
            self.push_event(event);
        }
        for stream in effects.watch.into_iter().chain(effects.moved) {
            self.watch(now, stream)?;
        }
        Ok(())
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// The root of a fresh stream.
fn fresh_root(rng: &mut EngineRng) -> StreamRoot {
    StreamRoot::new(random::bytes(rng))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
