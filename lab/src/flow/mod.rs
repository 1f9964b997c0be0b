//! Packet flows through stratified mix networks of any depth and width, in virtual time, in front of an adversary.
//!
//! ```text
//! Injections --link--> layer 1 --link--> ... --link--> layer L --link--> receivers
//!  (a Source)          each mix: veilpost_mixnode::Engine                  |
//!       \________________________ every frame ___________________________/--> Observer (an attack)
//! ```
//! What is the shipped code: every mix is a whole [`veilpost_mixnode::Engine`]. It admits each packet (epoch, transition, delay,
//! room), remembers its replay tag, keeps it in its delay queue and says when it is to be woken. What is not: packets are
//! tokens without bytes ([`veilpost_packet::sphinx::model::token`]), so nothing is unwrapped; senders are Poisson clocks or
//! lists, not clients; and as the rules of admission know three layers, each engine gets a document of its own in which the
//! layer before, its own and the next one are those three (see `mixes`).
//!
//! Times are of the Unix epoch's nanoseconds as everywhere; a flow begins at [`START`]. No packet may be dropped by an engine: a
//! flow in which one is ends in an error, as figures would be of another network.

mod mixes;
mod setup;
mod source;
mod trips;
pub mod view;

pub use mixes::START;
pub(crate) use mixes::{ENTRY, MAILBOX, document, id as mix_id};
pub(crate) use setup::WIDTH_MAX;
pub use setup::{Dummies, LAYERS_MAX, Setup};
pub use source::{Injection, Poisson};

use crate::impossible::Impossible;
use mixes::{EPOCH, RECEIVERS, SENDERS, engines, id};
use rand::Rng;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    iter::Peekable,
};
use trips::{Leg, Nature, Trips};
use veilpost_mixnode::{Engine, Origin};
use veilpost_packet::{
    random::{EngineRng, exponential, fork},
    sphinx::{Packet, ReplayTag, Unwrapped, model},
    time::Timestamp,
};
use veilpost_pki::document::Place;
use view::{Adversary, End, Frame, Observer, Sight, What};

/// A running flow. `S` says who sends what when.
pub struct Flow<S: Iterator<Item = Injection>> {
    setup: Setup,
    adversary: Adversary,
    engines: Vec<Engine>,
    trips: Trips,
    source: Peekable<S>,
    /// Frames on links, in the order in which they arrive: all links are equally long.
    flying: VecDeque<Flying>,
    /// When mixes want to be woken. Entries that are not in `wake` any more are stale.
    wakes: BinaryHeap<Reverse<(Timestamp, usize)>>,
    wake: Vec<Timestamp>,
    /// When mixes make their next dummies.
    dummies: BinaryHeap<Reverse<(Timestamp, usize)>>,
    rng: EngineRng,
    now: Timestamp,
    frames: u64,
    hops: u64,
}

/// A frame on a link.
struct Flying {
    due: Timestamp,
    frame: Frame,
    to: End,
    trip: usize,
    packet: Packet,
}

/// What happens next.
#[derive(Clone, Copy)]
enum Next {
    Injection,
    Arrival,
    Dummy,
    Wake,
}

impl<S: Iterator<Item = Injection>> Flow<S> {
    /// An empty network at [`START`]; `source` must be in order of time. `rng` decides routes, delays and losses.
    ///
    /// # Errors
    /// See [`Setup::check`].
    pub fn new(setup: Setup, adversary: Adversary, source: S, mut rng: EngineRng) -> Result<Self, Impossible> {
        setup.check()?;
        // The document's mean bounds delays, and a dummy's begins with a gap.
        let longest = setup.hop_delay() + setup.dummy_gap().unwrap_or_default();
        let engines = engines(setup.layers, setup.width, longest, &mut fork(&mut rng));
        let mut flow = Self {
            adversary,
            wake: vec![Timestamp::FAR_FUTURE; engines.len()],
            engines,
            trips: Trips::new(setup.layers),
            source: source.peekable(),
            flying: VecDeque::new(),
            wakes: BinaryHeap::new(),
            dummies: BinaryHeap::new(),
            rng,
            now: START,
            frames: 0,
            hops: 0,
            setup,
        };
        if flow.setup.dummy_gap().is_some() {
            // One who has a mix saves what only helps others.
            let makers = (0..flow.setup.dummy_makers()).filter(|mix| !flow.adversary.has(*mix));
            flow.dummies = makers.map(|mix| Reverse((START, mix))).collect();
        }
        Ok(flow)
    }

    /// Goes on until `until`, or until nothing happens any more, and shows `observer` everything.
    ///
    /// # Errors
    /// An engine dropped a packet.
    pub fn run(&mut self, until: Timestamp, observer: &mut impl Observer) -> Result<(), Impossible> {
        while let Some((at, next)) = self.next().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            match next {
                Next::Injection => self.inject(observer),
                Next::Arrival => self.arrive(observer)?,
                Next::Dummy => self.make_dummy()?,
                Next::Wake => self.wake(observer),
            }
        }
        Ok(())
    }

    /// Packets that mixes have taken so far.
    pub fn hops(&self) -> u64 {
        self.hops
    }

    /// What is due first; of what is due at one time, in the order of the lines below. The hot spot of a run, hence no iterator.
    fn next(&mut self) -> Option<(Timestamp, Next)> {
        let mut first = None;
        let mut earliest = Timestamp::FAR_FUTURE;
        let mut consider = |at: Timestamp, next: Next| {
            if at < earliest {
                earliest = at;
                first = Some((at, next));
            }
        };
        if let Some(injection) = self.source.peek() {
            consider(injection.at, Next::Injection);
        }
        if let Some(flying) = self.flying.front() {
            consider(flying.due, Next::Arrival);
        }
        if let Some(Reverse((at, _))) = self.dummies.peek() {
            consider(*at, Next::Dummy);
        }
        if let Some(Reverse((at, _))) = self.wakes.peek() {
            consider(*at, Next::Wake);
        }
        first
    }

    fn inject(&mut self, observer: &mut impl Observer) {
        let Some(Injection { sender, receiver, .. }) = self.source.next() else { return };
        let trip = self.begin(Nature::Real { receiver }, 0, None);
        let Some(Leg { mix, .. }) = self.trips.leg(trip, 0) else { return };
        self.send(trip, model::token(trip as u64), (End::Sender(sender), End::Mix(mix)), 1, observer);
    }

    /// Draws routes and delays as a sender does. A dummy's route begins at its own mix.
    fn begin(&mut self, nature: Nature, layer: usize, own: Option<usize>) -> usize {
        let (setup, rng) = (&self.setup, &mut self.rng);
        self.trips.begin(nature, layer, |at| {
            let mix = own.filter(|_| at == layer).unwrap_or_else(|| at * setup.width + setup.draw_mix(rng));
            Leg { mix, delay: exponential(rng, setup.hop_delay()) }
        })
    }

    fn send(&mut self, trip: usize, packet: Packet, (from, to): (End, End), pool: usize, observer: &mut impl Observer) {
        self.frames += 1;
        let (at, frame) = (self.now, Frame(self.frames));
        let told = matches!(from, End::Mix(mix) if self.adversary.has(mix));
        let was = self.trips.get(trip).came_as.filter(|_| told);
        observer.see(&Sight { at, frame, what: What::Sent { from, to, was, pool } });
        if self.setup.loss > 0.0 && self.rng.random_bool(self.setup.loss) {
            self.trips.end(trip);
            return;
        }
        self.flying.push_back(Flying { due: at + self.setup.latency(), frame, to, trip, packet });
    }

    fn arrive(&mut self, observer: &mut impl Observer) -> Result<(), Impossible> {
        let Some(Flying { frame, to, trip, packet, .. }) = self.flying.pop_front() else { return Ok(()) };
        observer.see(&Sight { at: self.now, frame, what: What::Arrived { to } });
        let at = self.trips.get_mut(trip);
        at.came_as = Some(frame);
        let ends = match at.nature {
            Nature::Real { .. } => false,
            Nature::Dummy { hops } => hops == 0 || at.leg + 1 == self.setup.layers,
        };
        match to {
            End::Mix(mix) if !ends => self.hand_over(mix, trip, packet),
            _ => {
                self.trips.end(trip);
                Ok(())
            }
        }
    }

    /// Gives the mix's engine a packet as it gets one from its worker.
    fn hand_over(&mut self, mix: usize, trip: usize, packet: Packet) -> Result<(), Impossible> {
        let at = self.trips.get(trip);
        let leg = self.trips.leg(trip, at.leg).expect("a packet is at one of its legs");
        let before = if at.leg == 0 { SENDERS } else { id((at.leg - 1) * self.setup.width) };
        let next = self.trips.leg(trip, at.leg + 1).map_or(RECEIVERS, |leg| id(leg.mix));
        let mut tag = [0; 32];
        let (serial, rest) = tag.split_at_mut(size_of::<u64>());
        serial.copy_from_slice(&at.serial.to_be_bytes());
        rest.fill(at.leg as u8);
        let unwrapped = Unwrapped::Forward { tag: ReplayTag(tag), next: next.0, delay: leg.delay, packet };
        let engine = self.engines.get_mut(mix).expect("routes lead to mixes");
        let origin = Origin::Node { id: before, place: Place::Mix(1) };
        let admitted = engine.handle_unwrapped(self.now, EPOCH, origin, unwrapped);
        admitted.map_err(|reason| Impossible(format!("a mix dropped a packet: {}", reason.name())))?;
        self.hops += 1;
        self.set_alarm(mix);
        Ok(())
    }

    fn set_alarm(&mut self, mix: usize) {
        let due = self.engines.get(mix).and_then(Engine::next_wake).unwrap_or(Timestamp::FAR_FUTURE);
        if let Some(wake) = self.wake.get_mut(mix)
            && *wake != due
        {
            *wake = due;
            if due < Timestamp::FAR_FUTURE {
                self.wakes.push(Reverse((due, mix)));
            }
        }
    }

    fn wake(&mut self, observer: &mut impl Observer) {
        let Some(Reverse((at, mix))) = self.wakes.pop() else { return };
        match self.wake.get_mut(mix) {
            Some(wake) if *wake == at => *wake = Timestamp::FAR_FUTURE,
            _ => return,
        }
        let now = self.now;
        let engine = self.engines.get_mut(mix).expect("only mixes are woken");
        // A simulation has no disk that they must be on.
        drop(engine.take_new_tags());
        while let Some((packet, pool)) = {
            let engine = self.engines.get_mut(mix).expect("only mixes are woken");
            engine.poll_forward(now).map(|forward| (forward.packet, engine.delayed() + 1))
        } {
            self.leave(mix, packet, pool, observer);
        }
        self.set_alarm(mix);
    }

    fn leave(&mut self, mix: usize, packet: Packet, pool: usize, observer: &mut impl Observer) {
        let number = model::token_number(&packet).and_then(|number| usize::try_from(number).ok());
        let trip = number.expect("every packet of a flow is a token");
        let at = self.trips.get_mut(trip);
        at.leg += 1;
        if let Nature::Dummy { hops } = &mut at.nature {
            *hops = hops.saturating_sub(1);
        }
        let (leg, nature) = (at.leg, at.nature);
        let to = match (self.trips.leg(trip, leg), nature) {
            (Some(next), _) => End::Mix(next.mix),
            (None, Nature::Real { receiver }) => End::Receiver(receiver),
            (None, Nature::Dummy { .. }) => unreachable!("the last layer drops dummies"),
        };
        self.send(trip, packet, (End::Mix(mix), to), pool, observer);
    }

    /// A mix makes a dummy as MiXiM's mixes do: it is in the pool from now on, begins its delay when the next one is made, and goes the
    /// way of packets that come. So each mix always has one that has not begun.
    fn make_dummy(&mut self) -> Result<(), Impossible> {
        let (Some(Reverse((now, mix))), Some(gap)) = (self.dummies.pop(), self.setup.dummy_gap()) else {
            return Ok(());
        };
        let gap = exponential(&mut self.rng, gap);
        self.dummies.push(Reverse((now + gap, mix)));
        let Setup { layers, width, dummies, .. } = self.setup;
        let hops = if dummies == Dummies::Links { 1 } else { layers };
        let trip = self.begin(Nature::Dummy { hops }, mix / width, Some(mix));
        self.trips.delay_more(trip, gap);
        self.hand_over(mix, trip, model::token(trip as u64))
    }
}

#[cfg(test)]
mod tests;
