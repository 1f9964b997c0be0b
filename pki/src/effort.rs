//! What a Put has to pay: the effort of its puzzle, which stands in the document alone. An effort in a mailbox's reply would be a
//! mark on the client that follows it.
//!
//! Every Put pays, decoys too, so the effort stays low until anonymous tokens exist. It grows with the fill that mailboxes report:
//!
//! | fill of the middle mailbox | effort |
//! |---|---|
//! | below 50 % | 0 |
//! | 50 % to 69 % | 1 |
//! | 70 % to 84 % | 2 |
//! | from 85 % | 4 |
//!
//! The authorities' parameter `put_effort` is the least, whatever the fill. Of an even number of mailboxes the emptier one of the
//! middle two counts, so that raising everybody's effort takes a hostile majority; a mailbox that is full alone answers `Full`.

use veilpost_packet::{
    geometry::KEY,
    ids::{BoxId, NetworkId, NodeId},
    puzzle::{Challenge, Effort, Puzzle},
    time::Day,
};

/// Highest effort of the usual retention.
pub const PUT_EFFORT_MAX: u32 = 4;
/// From which fill, in percent, which effort; ascending.
const STEPS: [(u8, u32); 3] = [(50, 1), (70, 2), (85, PUT_EFFORT_MAX)];

/// The effort that a document asks: the parameter, or what the fill of the listed mailboxes (in percent, in any order) asks if that
/// is more.
pub fn put_effort(parameter: u32, fills: &mut [u8]) -> u32 {
    fills.sort_unstable();
    let middle = fills.get(fills.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let asked = STEPS.iter().rfind(|(from, _)| middle >= *from).map_or(0, |(_, effort)| *effort);
    asked.max(parameter).min(PUT_EFFORT_MAX)
}

/// What a Put of one epoch has to pay. Client and mailbox take it from the document of the packet's epoch, so that they agree
/// whatever their clocks say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PutAdmission {
    /// The network.
    pub network: NetworkId,
    /// The epoch's shared random value.
    pub shared_random: [u8; KEY],
    /// Effort for the usual retention.
    pub effort: Effort,
    /// The usual retention, in days.
    pub box_days: u32,
    /// The day on which the epoch begins.
    pub day: Day,
}

impl PutAdmission {
    /// Of a network that asks for nothing.
    pub fn free(network: NetworkId) -> Self {
        Self { network, shared_random: [0; KEY], effort: Effort::NONE, box_days: 1, day: Day(0) }
    }

    /// The puzzle of a box at one holder. A box that is kept for more than the usual days from the epoch's day on pays as many times
    /// as these begin; renewing is a Put like the first and pays again. [`Effort::for_days`].
    pub fn puzzle(&self, holder: &NodeId, id: &BoxId, expiry: Day) -> Puzzle {
        let days = expiry.0.saturating_sub(self.day.0);
        Puzzle {
            challenge: Challenge::of_put(&self.network, &self.shared_random, holder, id, expiry),
            effort: self.effort.for_days(days, self.box_days),
        }
    }
}
