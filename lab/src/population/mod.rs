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
//! | which box a tick takes, decoys, audits, acknowledgements, receipts | a model of `client::core`: `sending`, `talking` |
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
mod sending;
mod setup;
mod talking;
mod view;

pub use setup::{Copies, Decoys, Design, Habits, PIECE, Reading, Receipts, Setup, require};
pub use view::{ByBox, Id, Kind, Lines, Message, Named, Owner, Request, Requests, Told, Truth, View, Watched};

use crate::impossible::Impossible;
use client::{Client, Parcel};
use network::Network;
use rand::Rng;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};
use veilpost_packet::{
    primitives::hash,
    random::{EngineRng, fork, seeded},
    time::Timestamp,
};
use veilpost_pki::Rates;

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

#[cfg(test)]
mod tests;
