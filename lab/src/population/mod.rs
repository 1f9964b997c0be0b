//! Thousands of clients in virtual time, watched at their lines and at mailboxes.
//!
//! [`crate::simulation`] runs whole engines with their databases: right for six people, too heavy for ten thousand. Here is kept what
//! a watcher of clients' lines and of mailboxes can see, and no more.
//!
//! | what | here |
//! |---|---|
//! | a client's clocks | the shipped `veilpost_client::traffic::Clocks` |
//! | copies and repeats | the shipped `veilpost_client::arq::{PutRetry, GetRetry}` |
//! | rates, delays, digest ticks | the shipped `veilpost_pki::Params` |
//! | which box a tick takes, decoys, audits, acknowledgements, receipts | a model of `client::core`, whose figures stand below |
//! | the way through entry and mixes | the sum of the hops' delays, see `network` |
//! | mailboxes | a model: two holders, T0 + Exp, boxes named at the first tick after both have it |
//! | packets | none: times, and a number for each box |
//!
//! The shipped mailbox engine is left out because of what its boxes weigh: 10,000 clients write 4.5 million in an hour, 3.3 kB each on
//! two disks, with two signatures. `tests` compares the model with the whole simulation: commands for a client and an hour, and the
//! age of boxes at their first Get.
//!
//! What is simplified: packets are complete at once; an answer that comes counts from the sending on, which changes nothing that is
//! planned a minute later; who comes back has the missed digests after one gap of the loop clock; nothing is renewed, there are no
//! beacons and no key agreements; a mailbox is never down.

mod client;
mod network;
mod people;
mod setup;
mod view;

pub use setup::{Copies, Decoys, Design, Habits, Impossible, PIECE, Reading, Receipts, Setup, require};
pub use view::{Id, Kind, Lines, Message, Named, Owner, Request, Requests, Told, Truth, View, Watched};

use crate::simulation::Asked;
use client::{Client, Job, Parcel};
use network::Network;
use rand::Rng;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};
use veilpost_client::{
    arq::{GetRetry, Pace, PutRetry, repeat_gap},
    traffic::{Clocks, Tick},
};
use veilpost_packet::{
    primitives::hash,
    random::{EngineRng, exponential, fork, log_uniform, one_in, pick, seeded},
    time::Timestamp,
};
use veilpost_pki::Rates;

/// One decoy in so many is read late, and one never acknowledged (`client::core::writing`).
const DECOY_ODDITY: u32 = 16;
/// Shortest and longest absence that such a decoy draws.
const ABSENCE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(10 * 86_400));
/// Mean wait of an acknowledgement (`client::core::reading`).
const ACK_MEAN: Duration = Duration::from_secs(1_800);
/// Mean and bound of the wait of what a late digest named.
const LATE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1_800));
/// Mean wait of a receipt (`client::core::work`).
const RECEIPT_MEAN: Duration = Duration::from_secs(120);
/// One stored box in so many is read back by its writer (`client::core::auditing`).
const AUDIT_ONE_IN: u32 = 8;
/// Periods are those of a real network.
const PACE: Pace = Pace(1);

/// Lets a population live, and watches it.
///
/// # Errors
/// [`Impossible`] for a setup that cannot be.
pub fn live(setup: &Setup) -> Result<Watched, Impossible> {
    setup.check()?;
    let mut world = World::new(setup);
    world.begin();
    world.run(setup.watch_from() + setup.watch);
    Ok(world.finish())
}

/// What happens at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// A client's clocks may tick.
    Tick(u32),
    /// Digests have named a box.
    Named(Id),
    /// A box of somebody else has come to its reader.
    Read(Id),
    /// Somebody says something to a contact, with so many answers to follow.
    Say(u32, u32, u32),
    /// One more text in a row of so many.
    Text(u32, u32, u32, u32),
    /// Somebody begins a conversation.
    Begin(u32),
    /// Somebody sends a file.
    File(u32),
    /// A receipt for a contact is due.
    Receipt(u32, u32),
    /// A client goes online, or offline.
    Switch(u32),
    /// A real box leaves on top of the decoys.
    Extra(u32),
}

struct World<'a> {
    setup: &'a Setup,
    rates: Rates,
    now: Timestamp,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    sequence: u64,
    network: Network,
    rng: EngineRng,
    clients: Vec<Client>,
    parcels: Vec<Parcel>,
    /// Boxes of one writer for one reader that wait, with the one to come, if readers poll.
    streams: BTreeMap<(u32, u32), VecDeque<Id>>,
    /// What texts ask for: how many answers follow.
    turns: Vec<u32>,
    view: View,
    truth: Truth,
    commands: [u64; 4],
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup) -> Self {
        let mut rng = seeded(hash("population seed", &[&setup.seed.to_be_bytes()]));
        let network = Network::new(setup, fork(&mut rng));
        let contacts = people::befriend(&setup.habits, setup.clients, &mut fork(&mut rng));
        let clients: Vec<_> = (0..setup.clients).map(|_| Client::new(fork(&mut rng))).collect();
        let nothing = || vec![Vec::new(); setup.clients];
        let lines = Lines {
            up: (0..setup.clients).map(|_| Vec::new()).collect(),
            online: nothing(),
            span: setup.watch.as_secs_f32(),
        };
        Self {
            setup,
            rates: setup.rates(),
            now: setup::BEGIN,
            queue: BinaryHeap::new(),
            sequence: 0,
            network,
            rng,
            clients,
            parcels: Vec::new(),
            streams: BTreeMap::new(),
            turns: Vec::new(),
            view: View { lines, ..View::default() },
            truth: Truth { contacts, ..Truth::default() },
            commands: [0; 4],
        }
    }

    fn begin(&mut self) {
        let habits = self.setup.habits;
        for number in 0..self.setup.clients {
            let who = number as u32;
            let cycle = habits.online + habits.offline;
            let online = cycle == 0.0 || self.rng.random_bool(habits.online / cycle);
            if online {
                self.connect(who);
            } else {
                let back = people::some(habits.offline * 60.0, &mut self.rng);
                self.push(self.now + back, Event::Switch(who));
            }
            if self.rng.random_bool(habits.active) {
                let begin = people::next(habits.conversations, &mut self.rng);
                let file = people::next(habits.files, &mut self.rng);
                begin.into_iter().for_each(|wait| self.push(self.now + wait, Event::Begin(who)));
                file.into_iter().for_each(|wait| self.push(self.now + wait, Event::File(who)));
            }
        }
    }

    fn run(&mut self, until: Timestamp) {
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at >= until {
                break;
            }
            self.now = at;
            match event {
                Event::Tick(who) => self.tick(who),
                Event::Named(id) => self.named(id),
                Event::Read(id) => self.read(id),
                Event::Say(from, to, turns) => self.say(from, to, turns),
                Event::Text(from, to, turns, row) => self.text(from, to, turns, row),
                Event::Begin(who) => self.begin_conversation(who),
                Event::File(who) => self.send_file(who),
                Event::Receipt(from, to) => self.receipt(from, to),
                Event::Switch(who) => self.switch(who),
                Event::Extra(who) => self.extra(who),
            }
        }
    }

    fn finish(mut self) -> Watched {
        let span = self.view.lines.span;
        for online in &mut self.view.lines.online {
            online.iter_mut().for_each(|(from, until)| (*from, *until) = (from.max(0.0), until.min(span)));
            online.retain(|(from, until)| from < until);
        }
        self.view.requests.all.retain(|request| (0.0..span).contains(&request.at));
        self.view.requests.all.sort_by(|one, other| one.at.total_cmp(&other.at));
        let online: f32 = self.view.lines.online.iter().flatten().map(|(from, until)| until - from).sum();
        let hours = f64::from(online) / 3_600.0;
        let rates = self.commands.map(|count| count as f64 / hours.max(1e-9));
        Watched { view: self.view, truth: self.truth, rates, boxes: self.parcels.len() }
    }

    fn push(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    /// Seconds since the watch began, below zero before it.
    fn seconds(&self, at: Timestamp) -> f32 {
        let from = self.setup.watch_from();
        if at >= from { at.since(from).as_secs_f32() } else { -from.since(at).as_secs_f32() }
    }

    fn client(&mut self, who: u32) -> &mut Client {
        self.clients.get_mut(who as usize).expect("events name clients that are")
    }

    fn parcel(&mut self, id: Id) -> &mut Parcel {
        self.parcels.get_mut(id as usize).expect("events name boxes that are")
    }

    fn owner(&self, id: Id) -> Owner {
        *self.truth.owner(id).expect("each box has an owner")
    }
}

// Clients.
impl World<'_> {
    fn connect(&mut self, who: u32) {
        let (now, rates, habits) = (self.now, self.rates, self.setup.habits);
        let stays = people::some(habits.online * 60.0, &mut self.rng);
        let client = self.client(who);
        let leaves = if habits.online > 0.0 && habits.offline > 0.0 { now + stays } else { Timestamp::FAR_FUTURE };
        let clocks = Clocks::start(now, &rates, &mut client.rng);
        let first = clocks.next_wake();
        client.clocks = Some(clocks);
        (client.connected, client.leaves) = (now, leaves);
        let caught_up = now + exponential(&mut client.rng, rates.loop_gap);
        for id in std::mem::take(&mut client.missed) {
            let due = caught_up + late_wait(&mut client.rng);
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

    fn switch(&mut self, who: u32) {
        if self.client(who).clocks.take().is_none() {
            return self.connect(who);
        }
        // Acknowledgements that wait are dropped.
        self.client(who).acks.clear();
        let away = people::some(self.setup.habits.offline * 60.0, &mut self.rng);
        self.push(self.now + away, Event::Switch(who));
    }

    fn tick(&mut self, who: u32) {
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
        let client = self.clients.get_mut(who as usize).expect("events name clients that are");
        let parcel = self.parcels.get_mut(id as usize).expect("events name boxes that are");
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
        if self.setup.design.reads_replace && self.parcel(id).get.asked == 0 {
            self.client(who).spared += u32::from(real);
        }
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
    fn named(&mut self, id: Id) {
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
        let absence = self.parcel(id).absence;
        let client = self.client(reader);
        if kind == Kind::Decoy && client.spared > 0 {
            client.spared -= 1;
            return;
        }
        client.gets.push(Reverse((told + absence, Job::Get(id))));
    }

    /// A real box leaves on its own clock, if there is one.
    fn extra(&mut self, who: u32) {
        self.client(who).extra = false;
        if self.client(who).clocks.is_none() {
            return;
        }
        if let Some(job) = self.client(who).next_real() {
            self.send(who, job);
        }
        self.wake_extra(who);
    }

    fn wake_extra(&mut self, who: u32) {
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

// Boxes and people.
impl World<'_> {
    /// A box that is written from now on.
    fn seal(&mut self, owner: Owner) -> Id {
        let decoy = owner.kind == Kind::Decoy;
        let (design, mailboxes) = (self.setup.design, self.setup.mailboxes);
        let holders = self.network.holders(mailboxes);
        let rng = &mut self.client(owner.writer).rng;
        let mut put = PutRetry::new(rng);
        if design.copies == Copies::OnLoss {
            put.planned = 1;
        }
        let late = decoy && one_in(rng, DECOY_ODDITY) && design.absences;
        let absence = if late { log_uniform(rng, ABSENCE.0, ABSENCE.1) } else { Duration::ZERO };
        let unacked = decoy && one_in(rng, DECOY_ODDITY);
        let id = Id::try_from(self.parcels.len()).expect("a day of 50,000 clients writes fewer boxes");
        self.truth.owners.push(owner);
        let get = GetRetry::new();
        self.parcels.push(Parcel { put, get, holders, durable: None, read: false, unacked, absence });
        id
    }

    /// The box that a reader who polls asks for: the oldest unread one, or the one to come.
    fn awaited(&mut self, writer: u32, reader: u32) -> Id {
        let oldest = self.streams.get(&(writer, reader)).and_then(|stream| stream.front().copied());
        oldest.unwrap_or_else(|| {
            let id = self.seal(Owner { writer, reader, kind: Kind::Text, of: u32::MAX });
            self.streams.entry((writer, reader)).or_default().push_back(id);
            id
        })
    }

    /// The next box of a stream; whoever polls has asked for its id before.
    fn next_box(&mut self, owner: Owner) -> Id {
        if self.setup.design.reading == Reading::Digests {
            return self.seal(owner);
        }
        let key = (owner.writer, owner.reader);
        let last = self.streams.get(&key).and_then(|stream| stream.back().copied());
        match last.filter(|id| self.owner(*id).of == u32::MAX) {
            Some(id) => {
                self.truth.owners.get_mut(id as usize).into_iter().for_each(|known| *known = owner);
                id
            }
            None => {
                let id = self.seal(owner);
                self.streams.entry(key).or_default().push_back(id);
                id
            }
        }
    }

    fn post(&mut self, owner: Owner) {
        let id = self.next_box(owner);
        self.client(owner.writer).puts.push_back(id);
        self.wake_extra(owner.writer);
    }

    fn begin_conversation(&mut self, who: u32) {
        let habits = self.setup.habits;
        if self.client(who).clocks.is_some()
            && let Some(contact) = self.some_contact(who)
        {
            let turns = people::at_least_one(habits.turns + 1.0, &mut self.rng) - 1;
            self.say(who, contact, turns);
        }
        if let Some(wait) = people::next(habits.conversations, &mut self.rng) {
            self.push(self.now + wait, Event::Begin(who));
        }
    }

    fn some_contact(&mut self, who: u32) -> Option<u32> {
        pick(&mut self.rng, self.truth.contacts.get(who as usize)?).copied()
    }

    fn say(&mut self, from: u32, to: u32, turns: u32) {
        let row = people::at_least_one(self.setup.habits.burst, &mut self.rng);
        self.text(from, to, turns, row);
    }

    /// One text, and those of the row that follow. The last of a row asks for an answer.
    fn text(&mut self, from: u32, to: u32, turns: u32, row: u32) {
        let of = self.message(from, to, 1, if row == 1 { turns } else { 0 });
        // Receipts that wait for this contact ride along.
        self.client(from).receipts.retain(|contact| *contact != to);
        self.post(Owner { writer: from, reader: to, kind: Kind::Text, of });
        if row > 1 {
            let typed = people::some(self.setup.habits.typing, &mut self.rng);
            self.push(self.now + typed, Event::Text(from, to, turns, row - 1));
        }
    }

    fn message(&mut self, from: u32, to: u32, boxes: u32, turns: u32) -> u32 {
        let of = u32::try_from(self.truth.messages.len()).expect("people write less than boxes are numbered");
        let said = self.seconds(self.now);
        self.truth.messages.push(Message { from, to, said, sent: None, read: None, boxes, unread: boxes });
        self.turns.push(turns);
        of
    }

    fn send_file(&mut self, who: u32) {
        let habits = self.setup.habits;
        let online = self.client(who).clocks.is_some();
        if let Some(contact) = self.some_contact(who).filter(|_| online) {
            let pieces = u32::try_from(habits.pieces()).unwrap_or(u32::MAX);
            let of = self.message(who, contact, pieces, 0);
            self.client(who).files.push_back((of, pieces));
            self.wake_extra(who);
        }
        if let Some(wait) = people::next(habits.files, &mut self.rng) {
            self.push(self.now + wait, Event::File(who));
        }
    }

    fn next_piece(&mut self, who: u32) -> Option<Id> {
        let client = self.client(who);
        let (of, left) = client.files.front_mut()?;
        let of = *of;
        *left -= 1;
        if *left == 0 {
            client.files.pop_front();
        }
        let reader = self.truth.messages.get(of as usize)?.to;
        Some(self.next_box(Owner { writer: who, reader, kind: Kind::Piece, of }))
    }

    fn note_sent(&mut self, id: Id, sends: u32) {
        let (at, Owner { kind, of, .. }) = (self.seconds(self.now), self.owner(id));
        if sends == 0 && matches!(kind, Kind::Text | Kind::Piece) {
            let message = self.truth.messages.get_mut(of as usize);
            message.into_iter().for_each(|message| message.sent = message.sent.or(Some(at)));
        }
    }

    /// A box of somebody else is here: its reader owes a receipt, and perhaps an answer.
    fn read(&mut self, id: Id) {
        let (now, habits) = (self.now, self.setup.habits);
        let Owner { writer, reader, kind, of } = self.owner(id);
        if !matches!(kind, Kind::Text | Kind::Piece) {
            return;
        }
        let at = self.seconds(now);
        let Some(message) = self.truth.messages.get_mut(of as usize) else { return };
        message.unread -= 1;
        if message.unread > 0 {
            return;
        }
        message.read = Some(at);
        self.client(reader).receipts.push(writer);
        let wait = match self.setup.design.receipts {
            Receipts::Queued => exponential(&mut self.client(reader).rng, RECEIPT_MEAN),
            Receipts::Immediate => Duration::ZERO,
        };
        self.push(now + wait, Event::Receipt(reader, writer));
        let turns = self.turns.get(of as usize).copied().unwrap_or(0);
        if turns > 0 {
            let thought = people::some(habits.thinking, &mut self.rng);
            self.push(now + thought, Event::Say(reader, writer, turns - 1));
        }
    }

    fn receipt(&mut self, from: u32, to: u32) {
        let waiting = &mut self.client(from).receipts;
        let before = waiting.len();
        waiting.retain(|contact| *contact != to);
        if waiting.len() < before {
            self.post(Owner { writer: from, reader: to, kind: Kind::Receipt, of: 0 });
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

#[cfg(test)]
mod tests;
