//! What clients do at their ticks and when they come and go: `client::core::{writing, reading, auditing}` as far as it can be seen.

use super::{
    Decoys, Event, Id, Kind, Named, Owner, Reading, Request, World, client::Job, people, talking::draw_absence,
};
use crate::simulation::Asked;
use std::{cmp::Reverse, time::Duration};
use veilpost_client::{
    arq::{Pace, repeat_gap},
    traffic::{Clocks, Tick},
};
use veilpost_packet::{
    random::{EngineRng, exponential, one_in},
    time::Timestamp,
};

/// Mean wait of an acknowledgement (`client::core::reading`).
const ACK_MEAN: Duration = Duration::from_secs(1_800);
/// Mean and bound of the wait of what a late digest named.
const LATE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1_800));
/// One stored box in so many is read back by its writer (`client::core::auditing`).
const AUDIT_ONE_IN: u32 = 8;
/// Periods are those of a real network.
const PACE: Pace = Pace(1);

impl World<'_> {
    pub(super) fn connect(&mut self, who: u32) {
        let (now, rates, habits) = (self.now, self.rates, self.setup.habits);
        let stays = people::some(habits.online * 60.0, &mut self.rng);
        let client = self.clients.get_mut(who as usize).expect("events name clients that are");
        let leaves = if habits.online > 0.0 && habits.offline > 0.0 { now + stays } else { Timestamp::FAR_FUTURE };
        let clocks = Clocks::start(now, &rates, &mut client.rng);
        let first = clocks.next_wake();
        client.clocks = Some(clocks);
        (client.connected, client.leaves) = (now, leaves);
        let caught_up = now + exponential(&mut client.rng, rates.loop_gap);
        for id in std::mem::take(&mut client.missed) {
            let absence = self.parcels.get(id as usize).map_or(Duration::ZERO, |parcel| parcel.absence);
            let due = caught_up + late_wait(&mut client.rng) + absence;
            client.gets.push(Reverse((due, Job::Get(id))));
        }
        if leaves < Timestamp::FAR_FUTURE {
            self.push(leaves, Event::Switch(who));
        }
        self.push(first, Event::Tick(who));
        let span = (self.seconds(now), self.seconds(leaves));
        self.view.lines.online.get_mut(who as usize).expect("a list for each client").push(span);
        self.wake_extra(who);
    }

    pub(super) fn switch(&mut self, who: u32) {
        if self.client(who).clocks.take().is_none() {
            return self.connect(who);
        }
        // Acknowledgements that wait are dropped.
        self.client(who).acks.clear();
        let away = people::some(self.setup.habits.offline * 60.0, &mut self.rng);
        self.push(self.now + away, Event::Switch(who));
    }

    pub(super) fn tick(&mut self, who: u32) {
        let (now, rates, design) = (self.now, self.rates, self.setup.design);
        loop {
            let client = self.clients.get_mut(who as usize).expect("events name clients that are");
            let Some(clocks) = &mut client.clocks else { return };
            let Some(tick) = clocks.poll(now, &rates) else { break };
            let polls = design.reading == Reading::Polls && tick == Tick::Get;
            let job = if polls { self.next_poll(who) } else { client.choose(now, tick, &design, &self.parcels) };
            self.send(who, job);
        }
        let wake = self.client(who).clocks.as_ref().map(Clocks::next_wake);
        if let Some(wake) = wake.filter(|wake| *wake > now) {
            self.push(wake, Event::Tick(who));
        }
    }

    fn next_poll(&mut self, who: u32) -> Job {
        let turn = self.client(who).turn;
        self.client(who).turn += 1;
        let contacts = self.truth.contacts.get(who as usize);
        let contact = contacts.and_then(|known| known.get(turn.checked_rem(known.len())?).copied());
        contact.map_or(Job::Loop, |contact| Job::Poll(self.awaited(contact, who)))
    }

    /// A frame leaves a client.
    fn send(&mut self, who: u32, job: Job) {
        let now = self.now;
        if job == Job::Loop && !self.setup.design.cover {
            return;
        }
        let at = self.seconds(now);
        if at >= 0.0 {
            self.view.lines.up.get_mut(who as usize).expect("a line for each client").push(at);
            let kind = match job {
                Job::Put(_) | Job::Decoy | Job::Piece => 0,
                Job::Get(_) | Job::Audit(_) | Job::Poll(_) => 1,
                Job::Ack(_) => 2,
                Job::Loop => 3,
            };
            self.commands.get_mut(kind).into_iter().for_each(|count| *count += 1);
        }
        match job {
            Job::Put(id) => self.send_put(who, id),
            Job::Decoy => {
                let id = self.seal(Owner { writer: who, reader: who, kind: Kind::Decoy, of: 0 });
                self.send_put(who, id);
            }
            Job::Piece => {
                if let Some(id) = self.next_piece(who) {
                    self.send_put(who, id);
                }
            }
            Job::Get(id) => self.send_get(who, id),
            Job::Audit(id) => drop(self.command(id, Asked::Get, 1)),
            Job::Poll(id) => self.send_poll(who, id),
            Job::Ack(id) => drop(self.command(id, Asked::Ack, 0)),
            Job::Loop => {}
        }
    }

    /// A command goes to one of a box's holders; when it comes there.
    fn command(&mut self, id: Id, asked: Asked, turn: u32) -> Option<(Timestamp, bool)> {
        let arrival = self.network.forward(self.now)?;
        let first = turn.is_multiple_of(2);
        let [one, other] = self.parcel(id).holders;
        let mailbox = if first { one } else { other };
        let at = self.seconds(arrival);
        self.view.requests.all.push(Request { at, id, asked, mailbox });
        Some((arrival, first))
    }

    /// When the answer to a command that came at `arrival` is there, if it is not lost and its client still online.
    fn answer(&mut self, who: u32, arrival: Timestamp) -> Option<Timestamp> {
        let (connected, leaves) = (self.client(who).connected, self.client(who).leaves);
        self.network.back(arrival, connected).filter(|at| *at < leaves)
    }

    fn send_put(&mut self, who: u32, id: Id) {
        let now = self.now;
        let sends = self.parcel(id).put.sends;
        self.note_sent(id, sends);
        let command = self.command(id, Asked::Put, sends);
        if let Some((arrival, first)) = command.filter(|_| self.parcel(id).durable.is_none()) {
            let (durable, tick) = self.network.named(arrival, first);
            self.parcel(id).durable = Some(durable);
            self.push(tick, Event::Named(id));
        }
        let answered = command.and_then(|(arrival, _)| self.answer(who, arrival));
        let kind = self.owner(id).kind;
        let client = self.clients.get_mut(who as usize).expect("events name clients that are");
        let parcel = self.parcels.get_mut(id as usize).expect("events name boxes that are");
        if sends == 0 && kind != Kind::Decoy {
            client.balance.handle_written();
        }
        parcel.put.handle_sent(now, &mut client.rng, PACE);
        if let Some(at) = answered {
            let fresh = !parcel.put.stored;
            parcel.put.handle_stored();
            if fresh && one_in(&mut client.rng, AUDIT_ONE_IN) {
                let due = at + repeat_gap(&mut client.rng, PACE);
                client.gets.push(Reverse((due, Job::Audit(id))));
            }
        }
        if let Some(next) = parcel.put.next {
            client.upkeep.push(Reverse((next, Job::Put(id))));
        }
    }

    fn send_get(&mut self, who: u32, id: Id) {
        let now = self.now;
        let real = self.owner(id).kind != Kind::Decoy;
        let asked = self.parcel(id).get.asked;
        let answered = self.command(id, Asked::Get, asked).and_then(|(arrival, _)| self.answer(who, arrival));
        let client = self.clients.get_mut(who as usize).expect("events name clients that are");
        let parcel = self.parcels.get_mut(id as usize).expect("events name boxes that are");
        parcel.get.handle_sent(now, &mut client.rng, PACE);
        if answered.is_some() {
            parcel.get.handle_answered(&mut client.rng);
        }
        if let Some(next) = parcel.get.next {
            client.upkeep.push(Reverse((next, Job::Get(id))));
        }
        if let Some(at) = answered {
            self.found(who, id, at, real);
        }
    }

    /// A box is here.
    fn found(&mut self, who: u32, id: Id, at: Timestamp, real: bool) {
        if std::mem::replace(&mut self.parcel(id).read, true) {
            return;
        }
        if !self.parcel(id).unacked {
            let client = self.client(who);
            let due = at + exponential(&mut client.rng, ACK_MEAN);
            client.acks.push(Reverse((due, Job::Ack(id))));
        }
        if real {
            self.push(at, Event::Read(id));
        }
    }

    fn send_poll(&mut self, who: u32, id: Id) {
        let Some((arrival, _)) = self.command(id, Asked::Get, 0) else { return };
        if self.parcel(id).durable.is_none_or(|durable| durable > arrival) {
            return;
        }
        if let Some(at) = self.answer(who, arrival) {
            let writer = self.owner(id).writer;
            self.streams.entry((writer, who)).or_default().retain(|other| *other != id);
            self.found(who, id, at, true);
        }
    }

    /// A digest named a box: its reader's client finds out.
    pub(super) fn named(&mut self, id: Id) {
        let at = self.seconds(self.now);
        if at >= 0.0 {
            self.view.named.push(Named { at, id });
        }
        if self.setup.design.reading == Reading::Polls {
            return;
        }
        let Owner { reader, kind, .. } = self.owner(id);
        if self.client(reader).clocks.is_none() {
            return self.client(reader).missed.push(id);
        }
        let connected = self.client(reader).connected;
        let told = self.network.told(self.now, connected);
        let mut absence = self.parcel(id).absence;
        let replaces = self.setup.design.reads_replace;
        let client = self.client(reader);
        if kind != Kind::Decoy {
            client.balance.handle_named();
        } else if absence.is_zero() && replaces && client.balance.gives_way() {
            absence = draw_absence(&mut client.rng);
        }
        client.gets.push(Reverse((told + absence, Job::Get(id))));
    }

    /// A real box leaves on its own clock, if there is one.
    pub(super) fn extra(&mut self, who: u32) {
        self.client(who).extra = false;
        if self.client(who).clocks.is_none() {
            return;
        }
        if let Some(job) = self.client(who).next_real() {
            self.send(who, job);
        }
        self.wake_extra(who);
    }

    pub(super) fn wake_extra(&mut self, who: u32) {
        if self.setup.design.decoys != Decoys::Additive {
            return;
        }
        let gap = self.rates.send_gap;
        let client = self.client(who);
        let waits = !client.puts.is_empty() || !client.files.is_empty();
        if waits && client.clocks.is_some() && !std::mem::replace(&mut client.extra, true) {
            let wait = exponential(&mut client.rng, gap);
            self.push(self.now + wait, Event::Extra(who));
        }
    }
}

/// How long what a late digest named waits.
fn late_wait(rng: &mut EngineRng) -> Duration {
    loop {
        let wait = exponential(rng, LATE.0);
        if wait <= LATE.1 {
            return wait;
        }
    }
}
