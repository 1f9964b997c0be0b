//! Which reliabilities explain best what came back: expectation maximisation (Dempster, Laird and Rubin 1977) over a model in which
//! a loop comes back if each element on its way lets it through, independently.
//!
//! The model begins with nodes alone. While some link's loops fare significantly worse than the nodes on their way explain, the worst
//! such link joins the model, and all is fitted anew. With all links in it from the beginning, a dead node, its links in and
//! its links out would explain its losses equally well.

use super::{Element, Estimate, Estimates, Evidence, evidence::Outcome, interval::wilson};
use std::collections::{BTreeMap, BTreeSet};
use veilpost_packet::ids::NodeId;

/// Rounds of expectation maximisation at most, in each of which the likelihood grows. What is left to gain then is far below the
/// interval.
const ROUNDS: usize = 100;
/// Rounds end when no reliability changes by more than this.
const SETTLED: f64 = 1e-5;
/// Everything begins here, and nobody is ever perfect: of a lost loop somebody must be to blame.
const START: f64 = 0.95;
const PERFECT: f64 = 1.0 - 1e-9;
const DEAD: f64 = 1e-9;
/// Successes that everything starts with: who was seen once and unlucky is not thought dead.
const PRIOR: f64 = 1.0;
/// Links that may join the model. More are down together only where a line or a machine is, which a node explains.
const LINKS_MAX: usize = 8;
/// What a link must gain in log-likelihood, beyond the logarithm of the number of links, to join. Twice the gain of an honest link is
/// chi-squared distributed, so of 20 honest links one joins in every hundredth estimate, and takes some blame from nodes.
const GAIN: f64 = 3.0;

/// One route with all that is on it.
struct Way {
    outcome: Outcome,
    nodes: Vec<usize>,
    links: Vec<usize>,
}

impl Way {
    fn loops(&self) -> f64 {
        (self.outcome.returned + self.outcome.lost) as f64
    }
}

pub(super) struct Fit {
    ways: Vec<Way>,
    /// Nodes first, then links.
    elements: Vec<Element>,
    /// Those that the model knows.
    modelled: BTreeSet<usize>,
    reliability: Vec<f64>,
}

fn index(all: &mut BTreeMap<Element, usize>, element: Element) -> usize {
    let next = all.len();
    *all.entry(element).or_insert(next)
}

impl Fit {
    pub(super) fn new(evidence: &Evidence) -> Self {
        let mut all = BTreeMap::new();
        for node in evidence.routes.keys().flat_map(|route| route.iter()) {
            index(&mut all, Element::Node(*node));
        }
        let modelled: BTreeSet<usize> = (0..all.len()).collect();
        let way = |(route, outcome): (&std::sync::Arc<[NodeId]>, &Outcome)| {
            let nodes = route.iter().map(|node| index(&mut all, Element::Node(*node))).collect();
            let pairs = route.iter().zip(route.iter().skip(1));
            let links = pairs.map(|(from, to)| index(&mut all, Element::Link(*from, *to))).collect();
            Way { outcome: *outcome, nodes, links }
        };
        let ways = evidence.routes.iter().map(way).collect();
        let mut elements: Vec<_> = all.into_iter().map(|(element, at)| (at, element)).collect();
        elements.sort_unstable();
        let elements: Vec<_> = elements.into_iter().map(|(_, element)| element).collect();
        let mut fit = Self { ways, modelled, reliability: vec![PERFECT; elements.len()], elements };
        fit.run();
        fit
    }

    fn run(&mut self) {
        self.maximise();
        for _ in 0..LINKS_MAX {
            let Some(link) = self.worst_link() else { return };
            self.modelled.insert(link);
            self.maximise();
        }
    }

    fn of(&self, element: usize) -> f64 {
        self.reliability.get(element).copied().unwrap_or(PERFECT)
    }

    /// The chance that a loop comes back this way. Links outside the model let everything through.
    fn chance(&self, way: &Way) -> f64 {
        self.modelled_on(way).map(|element| self.of(element)).product()
    }

    fn modelled_on<'a>(&'a self, way: &'a Way) -> impl Iterator<Item = usize> + 'a {
        let links = way.links.iter().filter(|link| self.modelled.contains(link));
        way.nodes.iter().chain(links).copied()
    }

    fn maximise(&mut self) {
        for element in &self.modelled {
            if let Some(reliability) = self.reliability.get_mut(*element) {
                *reliability = START;
            }
        }
        for _ in 0..ROUNDS {
            if self.round() < SETTLED {
                return;
            }
        }
    }

    /// One round; the largest change.
    fn round(&mut self) -> f64 {
        let mut passed = vec![(PRIOR, PRIOR); self.elements.len()];
        for way in &self.ways {
            let (chance, lost, returned) = (self.chance(way), way.outcome.lost as f64, way.outcome.returned as f64);
            for element in self.modelled_on(way) {
                // Of the lost loops those that this element let through: it did and the loop was lost, given that it was.
                let innocent = (self.of(element) - chance) / (1.0 - chance);
                if let Some((through, of)) = passed.get_mut(element) {
                    *through += returned + lost * innocent;
                    *of += returned + lost;
                }
            }
        }
        let mut change: f64 = 0.0;
        for element in &self.modelled {
            let (through, of) = passed.get(*element).copied().unwrap_or((PRIOR, PRIOR));
            if let Some(reliability) = self.reliability.get_mut(*element) {
                let new = (through / of).clamp(DEAD, PERFECT);
                change = change.max((new - *reliability).abs());
                *reliability = new;
            }
        }
        change
    }

    /// The link outside the model that would explain most if it were in it, if that is significant.
    fn worst_link(&self) -> Option<usize> {
        // Of each link: loops that came back, and loops that would have, were it perfect.
        let mut seen: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        let chances: Vec<f64> = self.ways.iter().map(|way| self.chance(way)).collect();
        let all = || self.ways.iter().zip(&chances);
        for (way, chance) in all() {
            for link in way.links.iter().filter(|link| !self.modelled.contains(link)) {
                let (returned, expected) = seen.entry(*link).or_default();
                *returned += way.outcome.returned as f64;
                *expected += way.loops() * chance;
            }
        }
        let share: BTreeMap<usize, f64> = seen
            .iter()
            .filter(|(_, (returned, expected))| returned < expected)
            .map(|(link, (returned, expected))| (*link, (returned / expected).clamp(DEAD, PERFECT)))
            .collect();
        let mut gains: BTreeMap<usize, f64> = BTreeMap::new();
        for (way, chance) in all() {
            for link in &way.links {
                let Some(share) = share.get(link) else { continue };
                let (before, after) = (chance.min(PERFECT), (chance * share).min(PERFECT));
                let gain = way.outcome.returned as f64 * share.ln()
                    + way.outcome.lost as f64 * ((1.0 - after).ln() - (1.0 - before).ln());
                *gains.entry(*link).or_default() += gain;
            }
        }
        let needed = GAIN + (seen.len().max(1) as f64).ln();
        let best = gains.into_iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
        best.filter(|(_, gain)| *gain > needed).map(|(link, _)| link)
    }

    pub(super) fn estimates(&self) -> Estimates {
        let mut seen = vec![Seen::default(); self.elements.len()];
        for way in &self.ways {
            let chance = self.chance(way);
            let mut on: BTreeMap<usize, u64> = BTreeMap::new();
            way.nodes.iter().chain(&way.links).for_each(|element| *on.entry(*element).or_default() += 1);
            for (element, times) in on {
                let own = if self.modelled.contains(&element) { self.of(element) } else { 1.0 };
                if let Some(seen) = seen.get_mut(element) {
                    seen.add(way, times, (chance / own).min(1.0));
                }
            }
        }
        let of = |(at, (element, seen)): (usize, (&Element, &Seen))| {
            let reliability = if self.modelled.contains(&at) { self.of(at) } else { seen.share() };
            (*element, seen.estimate(reliability))
        };
        self.elements.iter().zip(&seen).enumerate().map(of).collect()
    }
}

/// What was seen of one element.
#[derive(Clone, Copy, Default)]
struct Seen {
    traversals: u64,
    loops: f64,
    returned: f64,
    informative: f64,
}

impl Seen {
    /// `others`: the chance that the others on this way let a loop through.
    fn add(&mut self, way: &Way, times: u64, others: f64) {
        self.traversals += times * (way.outcome.returned + way.outcome.lost);
        self.loops += way.loops();
        self.returned += way.outcome.returned as f64;
        self.informative += way.loops() * others;
    }

    /// The share of packets that it lets through, if the others' are known.
    fn share(&self) -> f64 {
        share(self.returned, self.informative)
    }

    fn estimate(&self, reliability: f64) -> Estimate {
        let Self { traversals, loops, returned, informative } = *self;
        // What is left of the loops' own success rate, the others' losses taken out, is this element's.
        let others = share(informative, loops);
        let (low, high) = wilson(returned, loops);
        let low = if informative > 0.0 { share(low, others).min(reliability) } else { 0.0 };
        Estimate { traversals, informative, reliability, low, high: share(high, others).max(reliability) }
    }
}

fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { (part / of).clamp(0.0, 1.0) } else { 1.0 }
}
