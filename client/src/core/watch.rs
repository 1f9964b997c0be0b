//! Do too many replies stay away, and is the entry the likeliest cause? A decision over what loops tell, pure.
//!
//! Every command of a client expects a reply, so every command is evidence. All of them pass its entry, there and back, and each goes
//! its own way through everything else. So losses that meet all ways alike point to the entry; losses that follow one mix or mailbox
//! do not; and losses that follow a mix only where it is the entry's neighbour, while it works elsewhere on the way, are the
//! entry's or its line's again: an entry knows its neighbours, and could else frame one.
//!
//! Honest loss is taken to be up to 1 % at each hop ([`HONEST`] of all commands). More is held against somebody when so much would come
//! of honest loss once in 10^8 looks ([`RARE`]), which at a look every ten seconds is far below once a month. An entry that drops
//! less than honest loss is not noticed.

use super::REPLY_DEADLINE;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use veilpost_cover::statistics::{Evidence, Loops};
use veilpost_packet::{
    ids::{NodeId, SurbId},
    time::Timestamp,
};
use veilpost_pki::Rates;

/// Honest loss of commands: 1 % at each of the ten hops, there and back.
pub const HONEST: f64 = 0.095_617_925;
/// What honest loss brings about less often than this is not honest loss.
pub const RARE: f64 = 1e-8;
/// Commands of the windows that are looked at, on average: the short one notices at once what drops everything, the long one what
/// drops little more than honest loss.
pub const WINDOWS: [u32; 3] = [128, 1_024, 4_096];
/// Commands before anybody is suspected. An entry that has just started, or its line, may be silent for a minute; and where half of two
/// layers is dead, one way in 16 is left, on which nothing of fewer may have come back.
pub const SAMPLE_MIN: u64 = 96;
/// Commands that must be left after those through a culprit are set aside, or nobody can be told from anybody.
const LEFT_MIN: u64 = 8;
/// Nodes that are set aside as culprits at most. Where more fail at one time, the network is in trouble and not the entry.
const CULPRITS_MAX: usize = 4;
/// A node is a culprit if the loss of the ways through it lies so many standard deviations above that of the others: once in 160 by
/// chance. Who is set aside by chance takes his ways with him, and what is left tells the same.
const SIGMAS: f64 = 2.5;

/// What a look says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// No more is lost than honest loss explains, or too little is known.
    Fine,
    /// More is lost, and somebody else than the entry explains it, or may.
    Others,
    /// More is lost, whatever the way: of all that was sent, this share.
    Entry(f64),
}

/// Commands that went one way, there and back.
#[derive(Clone, Copy)]
struct Way<'a> {
    nodes: &'a [NodeId],
    sent: u64,
    lost: u64,
}

/// The commands that were given to one entry, and what became of them.
#[derive(Debug)]
pub struct Watch {
    entry: NodeId,
    loops: Loops,
}

impl Watch {
    /// Of this entry nothing is known.
    pub fn new(entry: NodeId) -> Self {
        Self { entry, loops: Loops::default() }
    }

    /// Who is watched.
    pub fn entry(&self) -> NodeId {
        self.entry
    }

    /// A command leaves through these nodes, there and back.
    pub fn handle_sent(&mut self, now: Timestamp, id: SurbId, nodes: &[NodeId]) {
        self.loops.handle_sent(id, now, now + REPLY_DEADLINE, nodes.to_vec());
    }

    /// Its reply came.
    pub fn handle_returned(&mut self, now: Timestamp, id: &SurbId) {
        self.loops.handle_returned(now, id);
    }

    /// Replies that did not come yet cannot come any more, which says nothing.
    pub fn forget_waiting(&mut self) {
        self.loops.forget_waiting();
    }

    /// Looks at all windows; the share that was lost if the entry is to blame.
    pub fn look(&mut self, now: Timestamp, rates: &Rates) -> Option<f64> {
        self.loops.handle_time(now);
        // The last ones may still come back.
        let span = |commands: u32| Duration::from_secs_f64(f64::from(commands) / rates.up()) + REPLY_DEADLINE;
        self.loops.forget_before(now - WINDOWS.into_iter().map(span).max()?);
        WINDOWS.into_iter().find_map(|window| match judge(&self.loops.evidence(now - span(window), now), &self.entry) {
            Verdict::Entry(lost) => Some(lost),
            Verdict::Fine | Verdict::Others => None,
        })
    }
}

/// Looks at the commands that were sent through `entry` in one window.
pub fn judge(evidence: &Evidence, entry: &NodeId) -> Verdict {
    let ways = evidence.routes().map(|(nodes, returned, lost)| Way { nodes, sent: returned + lost, lost });
    let mut ways: Vec<Way<'_>> = ways.collect();
    let (sent, lost) = sums(&ways);
    if sent < SAMPLE_MIN || !is_rare(sent, lost) {
        return Verdict::Fine;
    }
    let blamed = Verdict::Entry(lost as f64 / sent as f64);
    for _ in 0..CULPRITS_MAX {
        let Some(worst) = worst(&ways, entry) else { return Verdict::Others };
        if worst.sigmas < SIGMAS {
            return blamed;
        }
        if is_framed(&ways, entry, &worst.node) {
            return blamed;
        }
        ways.retain(|way| !way.nodes.contains(&worst.node));
        let (sent, lost) = sums(&ways);
        if sent < LEFT_MIN || !is_rare(sent, lost) {
            return Verdict::Others;
        }
    }
    Verdict::Others
}

fn sums<'a>(ways: impl IntoIterator<Item = &'a Way<'a>>) -> (u64, u64) {
    ways.into_iter().fold((0, 0), |(sent, lost), way| (sent + way.sent, lost + way.lost))
}

fn is_rare(sent: u64, lost: u64) -> bool {
    binomial_tail(sent, lost, HONEST) < RARE
}

struct Worst {
    node: NodeId,
    sigmas: f64,
}

/// The node whose ways fare worst against all others. `None` if some node is on so many ways that it cannot be told from the entry.
fn worst(ways: &[Way<'_>], entry: &NodeId) -> Option<Worst> {
    let (sent, lost) = sums(ways);
    let mut through: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
    for way in ways {
        let distinct: BTreeSet<&NodeId> = way.nodes.iter().filter(|node| *node != entry).collect();
        for node in distinct {
            let (all, gone) = through.entry(*node).or_default();
            (*all, *gone) = (*all + way.sent, *gone + way.lost);
        }
    }
    let mut worst: Option<Worst> = None;
    for (node, (with, lost_with)) in through {
        if sent - with < LEFT_MIN {
            return None;
        }
        let sigmas = sigmas((with, lost_with), (sent - with, lost - lost_with));
        if worst.as_ref().is_none_or(|worst| worst.sigmas < sigmas) {
            worst = Some(Worst { node, sigmas });
        }
    }
    worst
}

/// How far the first share lies above the second, in standard deviations of their difference if both were the same.
fn sigmas((n, k): (u64, u64), (m, j): (u64, u64)) -> f64 {
    let (n, k, m, j) = (n as f64, k as f64, m as f64, j as f64);
    let pooled = (k + j) / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    if deviation > 0.0 { (k / n - j / m) / deviation } else { 0.0 }
}

/// True if a node loses packets only beside the entry, and none too many elsewhere on the way.
fn is_framed(ways: &[Way<'_>], entry: &NodeId, node: &NodeId) -> bool {
    let beside = |way: &Way<'_>| {
        way.nodes
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if (a == entry && b == node) || (a == node && b == entry)))
    };
    let away = ways.iter().filter(|way| way.nodes.contains(node) && !beside(way));
    let (sent, lost) = sums(away);
    sent >= LEFT_MIN && binomial_tail(sent, lost, HONEST) > 1e-3
}

/// Losses from which on they are not honest any more, among so many commands.
pub fn critical(sent: u64) -> u64 {
    (0..=sent).find(|lost| is_rare(sent, *lost)).unwrap_or(sent)
}

/// The chance of at least `lost` losses among `sent`, each with this probability: exact.
pub fn binomial_tail(sent: u64, lost: u64, probability: f64) -> f64 {
    if lost == 0 {
        return 1.0;
    }
    let (n, p) = (sent as f64, probability);
    // The logarithm of the first term, and each further one from the one before.
    let mut term: f64 = (0..lost).map(|k| ((n - k as f64) / (k as f64 + 1.0)).ln()).sum::<f64>()
        + lost as f64 * p.ln()
        + (n - lost as f64) * (1.0 - p).ln();
    let mut tail = 0.0;
    for k in lost..=sent {
        tail += term.exp();
        let k = k as f64;
        term += ((n - k) / (k + 1.0) * p / (1.0 - p)).ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
