//! What a node says of others: what its loops found, in the form in which its descriptor reports it.

use crate::statistics::{Element, Estimates, Evidence};
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

/// What pieces of evidence say, such as a longer and a shorter time: of each node the worst that one of them makes certain. Takes some
/// tenths of a second where everything is lost: not for a thread that must be punctual. `me` reports nothing of itself.
pub fn find(evidence: &[Evidence], me: &NodeId) -> Findings {
    let mut findings = Findings::default();
    let mut reports = Vec::new();
    for estimates in evidence.iter().map(Evidence::estimate) {
        reports.extend(certain(&estimates, me));
        for (element, estimate) in estimates.iter().filter(|(_, estimate)| estimate.informative >= INFORMATIVE_MIN) {
            let least = match element {
                Element::Node(_) => &mut findings.worst_node,
                Element::Link(..) => &mut findings.worst_link,
            };
            *least = least.min(estimate.reliability);
        }
    }
    findings.reports = worst(reports);
    findings
}

/// Nodes whose whole interval lies below the line.
fn certain(estimates: &Estimates, me: &NodeId) -> Vec<Measured> {
    let line = f64::from(FULL_LINE) / f64::from(u8::MAX);
    let report = |(element, estimate): (&Element, &crate::statistics::Estimate)| match element {
        Element::Node(node) if node != me && estimate.informative >= INFORMATIVE_MIN && estimate.high < line => {
            Some(Measured { reliability: (estimate.reliability * f64::from(u8::MAX)) as u8, node: *node })
        }
        Element::Node(_) | Element::Link(..) => None,
    };
    estimates.iter().filter_map(report).collect()
}
