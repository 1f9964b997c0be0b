//! The packets of a flow on their way. What a real packet carries in its header, its route and delays, stands here under the number
//! that its token carries.

use super::view::Frame;
use std::time::Duration;

/// One hop of a route, as the sender drew it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) mix: usize,
    pub(super) delay: Duration,
}

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    /// Someone's, for a receiver.
    Real { receiver: u32 },
    /// A mix's, which the next mix drops (`hops` is 1) or the last one.
    Dummy { hops: usize },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    /// Tells packets apart for good; numbers of trips are used again.
    pub(super) serial: u64,
    pub(super) nature: Nature,
    /// The leg that it is at.
    pub(super) leg: usize,
    /// The frame that it came to its mix as; `None` for a dummy where it begins.
    pub(super) came_as: Option<Frame>,
}

/// All trips; those that have ended make room for others.
#[derive(Debug)]
pub(super) struct Trips {
    layers: usize,
    trips: Vec<Trip>,
    /// `layers` legs for each trip.
    legs: Vec<Leg>,
    free: Vec<usize>,
    begun: u64,
}

impl Trips {
    pub(super) fn new(layers: usize) -> Self {
        Self { layers, trips: Vec::new(), legs: Vec::new(), free: Vec::new(), begun: 0 }
    }

    /// Begins a trip at the `leg`-th of its legs and returns its number.
    pub(super) fn begin(&mut self, nature: Nature, leg: usize, mut draw: impl FnMut(usize) -> Leg) -> usize {
        self.begun += 1;
        let trip = Trip { serial: self.begun, nature, leg, came_as: None };
        let number = self.free.pop().unwrap_or(self.trips.len());
        if number == self.trips.len() {
            self.trips.push(trip);
            self.legs.extend((0..self.layers).map(draw));
        } else {
            *self.get_mut(number) = trip;
            let legs = self.legs.iter_mut().skip(number * self.layers).take(self.layers);
            legs.enumerate().for_each(|(at, leg)| *leg = draw(at));
        }
        number
    }

    /// Makes the delay at the leg that a trip is at longer.
    pub(super) fn delay_more(&mut self, number: usize, by: Duration) {
        let at = number * self.layers + self.get(number).leg;
        self.legs.get_mut(at).expect("a packet is at one of its legs").delay += by;
    }

    pub(super) fn end(&mut self, number: usize) {
        self.free.push(number);
    }

    pub(super) fn get(&self, number: usize) -> Trip {
        *self.trips.get(number).expect("a trip that has begun")
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut Trip {
        self.trips.get_mut(number).expect("a trip that has begun")
    }

    /// The leg that a trip is at, or one further on; `None` beyond the last layer.
    pub(super) fn leg(&self, number: usize, leg: usize) -> Option<Leg> {
        if leg < self.layers { self.legs.get(number * self.layers + leg).copied() } else { None }
    }
}
