//! What a node says of others: what its loops found, in the form in which its descriptor reports it.

use crate::statistics::{Element, Estimate, Estimates, Evidence};
use veilpost_packet::ids::NodeId;
use veilpost_pki::reliability::{FULL_LINE, Measured, worst};

/// Loops through a node that had to come back, as far as all others on their way are concerned, before anything is said of it.
pub const INFORMATIVE_MIN: f64 = 20.0;

/// What loops found.
#[derive(Clone, PartialEq, Debug)]
pub struct Findings {
    /// Nodes that are worse than the line for certain, worst first.
    pub reports: Vec<Measured>,
    /// The estimated reliability of the worst node of which enough is known, 0 to 1.
    pub worst_node: f64,
    /// The same of the worst link.
    pub worst_link: f64,
}

impl Default for Findings {
    fn default() -> Self {
        Self { reports: Vec::new(), worst_node: 1.0, worst_link: 1.0 }
    }
}

/// What loops say. Takes some tenths of a second where everything is lost: not for a thread that must be punctual. `me` reports
/// nothing of itself.
pub fn find(evidence: &Evidence, me: &NodeId) -> Findings {
    let estimates = evidence.estimate();
    let mut findings = Findings { reports: worst(certain(&estimates, me)), ..Findings::default() };
    for (element, estimate) in estimates.iter().filter(|(_, estimate)| estimate.informative >= INFORMATIVE_MIN) {
        let least = match element {
            Element::Node(_) => &mut findings.worst_node,
            Element::Link(..) => &mut findings.worst_link,
        };
        *least = least.min(estimate.reliability);
    }
    findings
}

/// Nodes whose whole interval lies below the line.
fn certain(estimates: &Estimates, me: &NodeId) -> Vec<Measured> {
    let line = f64::from(FULL_LINE) / f64::from(u8::MAX);
    let report = |(element, estimate): (&Element, &Estimate)| match element {
        Element::Node(node) if node != me && estimate.informative >= INFORMATIVE_MIN && estimate.high < line => {
            Some(Measured { reliability: (estimate.reliability * f64::from(u8::MAX)) as u8, node: *node })
        }
        Element::Node(_) | Element::Link(..) => None,
    };
    estimates.iter().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(node: u8, evidence: &mut Evidence, returned: u32, lost: u32) {
        let route = [0, node, 9, 0].map(|n| NodeId([n; 32])).to_vec().into();
        (0..returned + lost).for_each(|number| evidence.add(&route, number < returned));
    }

    #[test]
    fn what_is_bad_for_certain_is_reported_and_what_may_be_chance_is_not() {
        let mut evidence = Evidence::default();
        through(1, &mut evidence, 99, 1);
        through(2, &mut evidence, 70, 30);
        // One lost of five says little.
        through(3, &mut evidence, 4, 1);
        let findings = find(&evidence, &NodeId([0; 32]));
        let [report] = findings.reports[..] else { panic!("one report: {findings:?}") };
        assert_eq!(report.node, NodeId([2; 32]));
        assert!((170..190).contains(&report.reliability) && findings.worst_node < 0.75, "{findings:?}");
        assert_eq!(find(&evidence, &NodeId([2; 32])).reports, [], "of itself a node says nothing");
    }

    #[test]
    fn at_the_least_number_of_loops_a_dead_node_is_reported_and_below_it_is_not() {
        for (loops, reported) in [(INFORMATIVE_MIN as u32 - 2, 0), (INFORMATIVE_MIN as u32 + 1, 1)] {
            let mut evidence = Evidence::default();
            through(1, &mut evidence, 100, 0);
            through(2, &mut evidence, 0, loops);
            assert_eq!(find(&evidence, &NodeId([0; 32])).reports.len(), reported, "{loops}");
        }
    }
}
