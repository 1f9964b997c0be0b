//! What nodes measure of each other with their loops, and what becomes of it: one number for each node, and its share in path choice.
//! Pure, and the same for every authority.
//!
//! Reliabilities are shares of packets that a node lets through, in steps of 1/255. Nobody is believed alone: the middle of what all
//! listed nodes say counts, and who says nothing of a node finds it good. So whoever has fewer than half of the nodes moves nothing
//! beyond what the others found; exactly half of them can hold a bad node up, and cannot pull a good one down.

use crate::{
    descriptor::Descriptor,
    document::{Relay, View},
};
use std::collections::{BTreeMap, BTreeSet};
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    ids::NodeId,
};

/// The reliability of a node that nobody has anything to say about.
pub const GOOD: u8 = u8::MAX;
/// From here on a node has its full share: 95 %, since one percent of honest loss at each hop shows as two or three.
pub const FULL_LINE: u8 = 242;
/// Up to here it has none: 85 %. Between the lines the share grows with the reliability.
pub const FAIL_LINE: u8 = 217;
/// How far a reliability rises in one epoch at most. It falls at once: a mix that drops packets now and then spends most of the time
/// on its way back. From the lowest to the first share it takes 28 epochs.
pub const RISE: u8 = 8;
/// Share in path choice of a good node: what nodes claim to carry is not believed.
pub const WEIGHT: u32 = 1_000;
/// Nodes that a descriptor reports at most, worst first: 2,112 bytes. Where more are bad, the measurement is.
pub const REPORTS_MAX: usize = 64;

/// One node's measurement of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Measured {
    /// In 1/255, below [`FULL_LINE`].
    pub reliability: u8,
    /// Of whom.
    pub node: NodeId,
}

/// The reports of one node as a descriptor lists them: the worst [`REPORTS_MAX`], worst first, none that is good, each node once.
pub fn worst(measured: impl IntoIterator<Item = Measured>) -> Vec<Measured> {
    let mut seen = BTreeSet::new();
    let below = measured.into_iter().filter(|measured| measured.reliability < FULL_LINE);
    let mut all: Vec<_> = below.collect();
    all.sort_unstable();
    all.retain(|measured| seen.insert(measured.node));
    all.truncate(REPORTS_MAX);
    all
}

/// Appends `count | (node | reliability) ..`.
pub fn write_reports(writer: &mut Writer, reports: &[Measured]) {
    writer.u8(reports.len().min(REPORTS_MAX) as u8);
    for report in reports.iter().take(REPORTS_MAX) {
        writer.put(report.node.as_bytes()).u8(report.reliability);
    }
}

/// Reads the reports of the node `of`.
///
/// # Errors
/// [`DecodeError`] for more than [`REPORTS_MAX`], another order, a node twice, one that is good, or itself.
pub fn read_reports(reader: &mut Reader<'_>, of: &NodeId) -> Result<Vec<Measured>> {
    let count = usize::from(reader.u8()?);
    if count > REPORTS_MAX {
        return Err(DecodeError::TooLong("reports"));
    }
    let report = |reader: &mut Reader<'_>| {
        let node = NodeId(reader.array()?);
        Ok(Measured { reliability: reader.u8()?, node })
    };
    let reports: Vec<_> = (0..count).map(|_| report(reader)).collect::<Result<_>>()?;
    let ids: BTreeSet<_> = reports.iter().map(|report| report.node).collect();
    let fine = reports.is_sorted_by(|a, b| a < b)
        && ids.len() == reports.len()
        && !ids.contains(of)
        && reports.iter().all(|report| report.reliability < FULL_LINE);
    if fine { Ok(reports) } else { Err(DecodeError::Invalid("reports")) }
}

/// What `reporters` find of each node that one of them reports: the middle of what all others than the node itself say, and of two
/// middles the better.
pub fn medians<'a>(reporters: impl IntoIterator<Item = &'a Descriptor>) -> BTreeMap<NodeId, u8> {
    let mut said: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for reporter in reporters {
        all.insert(reporter.id);
        for report in reporter.measured.iter().filter(|report| report.node != reporter.id) {
            said.entry(report.node).or_default().push(report.reliability);
        }
    }
    let middle = |(node, mut reports): (NodeId, Vec<u8>)| {
        reports.sort_unstable();
        let others = all.len() - usize::from(all.contains(&node));
        (node, reports.get(others / 2).copied().unwrap_or(GOOD))
    };
    said.into_iter().map(middle).collect()
}

/// What was known of each node: of those that the last document lists, and of mixes that are away.
pub fn known(base: Option<&View>) -> BTreeMap<NodeId, u8> {
    let Some(base) = base else { return BTreeMap::new() };
    let absent = base.memory.absent.iter().map(|absent| (absent.id, absent.reliability));
    absent.chain(base.relays().map(|(_, relay)| (relay.id, relay.reliability))).collect()
}

/// The reliability that a document states: falling at once, rising slowly.
pub fn next(before: u8, measured: u8) -> u8 {
    measured.min(before.saturating_add(RISE))
}

/// Sets the reliability of every relay from what was known and measured, and its weight. If most mixes are measured below the line, the
/// measurement is to blame, as on a day when half of the links are down: it does not count, and all have their full share.
pub fn apply(view: &mut View, known: &BTreeMap<NodeId, u8>, measured: &BTreeMap<NodeId, u8>) {
    let of = |all: &BTreeMap<NodeId, u8>, id: &NodeId| all.get(id).copied().unwrap_or(GOOD);
    let mixes: Vec<_> = view.layers.iter().flatten().map(|mix| mix.id).collect();
    let bad = mixes.iter().filter(|id| of(measured, id) < FULL_LINE).count();
    let none = BTreeMap::new();
    let measured = if bad * 2 > mixes.len() { &none } else { measured };
    for list in view.layers.iter_mut().chain([&mut view.entries, &mut view.mailboxes]) {
        for relay in list.iter_mut() {
            relay.reliability = next(of(known, &relay.id), of(measured, &relay.id));
        }
        weigh(list);
    }
}

/// The share of a node with this reliability.
pub fn weight(reliability: u8) -> u32 {
    let above = u32::from(reliability.min(FULL_LINE).saturating_sub(FAIL_LINE));
    WEIGHT * above / u32::from(FULL_LINE - FAIL_LINE)
}

/// A list never loses its last nodes: if all fail, the best have the full share.
fn weigh(list: &mut [Relay]) {
    list.iter_mut().for_each(|relay| relay.weight = weight(relay.reliability));
    let best = list.iter().map(|relay| relay.reliability).max();
    if list.iter().all(|relay| relay.weight == 0) {
        list.iter_mut().filter(|relay| Some(relay.reliability) == best).for_each(|relay| relay.weight = WEIGHT);
    }
}
