//! Routes whose mixes are all corrupt: whoever has them knows both ends. Exact formulas. Placement by chance: Ben Guirat, Gosain and
//! Diaz, "MiXiM", WPES 2021, figure 3. Over many packets: Rahimi, "When Mixnets Fail", NDSS 2026. Mixes that a client stays with:
//! Xinshu Ma, Rochet and Elahi, "Stopping Silent Sneaks" (Bow-Tie), ACSAC 2022, which pins one layer.

/// Chance that one route is corrupt in all layers, if `corrupt` of `nodes` nodes are and chance decides who is in which layer. The
/// mixes of a route are then any `layers` different nodes, whatever the sizes of the layers: a hypergeometric draw without
/// honest ones. (MiXiM's own figure is 3 % higher where layers do not divide the nodes: it counts the nodes that are left over to the
/// last layer without making it wider.)
pub fn by_chance(nodes: usize, corrupt: usize, layers: usize) -> f64 {
    (0..layers).map(|taken| corrupt.saturating_sub(taken) as f64 / (nodes - taken) as f64).product()
}

/// The same if each layer has this share of corrupt mixes: b^L, the worst case of an adversary who chooses.
pub fn evenly(share: f64, layers: usize) -> f64 {
    share.powi(i32::try_from(layers).unwrap_or(i32::MAX))
}

/// Chance that one of so many packets took a route that is corrupt with probability `p`.
pub fn exposed(p: f64, packets: f64) -> f64 {
    if p >= 1.0 { f64::from(packets > 0.0) } else { -(packets * (-p).ln_1p()).exp_m1() }
}

/// Packets until the chance of [`exposed`] is one half; infinite if it never is.
pub fn packets_for_half(p: f64) -> f64 {
    0.5f64.ln() / (-p).ln_1p()
}

/// Chance that one of so many packets is exposed if the client keeps to `pinned` mixes of one layer, as guards in the first or sticky
/// mixes in the middle, each of which is corrupt with probability `share`, as is every mix of the other layers.
pub fn exposed_pinned(share: f64, layers: usize, pinned: u32, packets: f64) -> f64 {
    let others = evenly(share, layers - 1);
    let of_pinned = |corrupt: u32| {
        let ways = (0..corrupt).map(|taken| f64::from(pinned - taken) / f64::from(taken + 1)).product::<f64>();
        let chance = ways * share.powi(corrupt as i32) * (1.0 - share).powi((pinned - corrupt) as i32);
        chance * exposed(others * f64::from(corrupt) / f64::from(pinned), packets)
    };
    (1..=pinned).map(of_pinned).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, by: f64) {
        assert!((value - expected).abs() <= by * expected, "{value} is not {expected}");
    }

    #[test]
    fn placement_by_chance_gives_the_published_table() {
        for (layers, published) in [(2, 0.00909), (4, 5.36e-5), (5, 3.35e-6)] {
            near(by_chance(100, 10, layers), published, 1e-3);
        }
        near(by_chance(100, 20, 4), 0.001_235_583_267_983_855_7, 1e-12);
        // The published figure, 0.000765, counts 34 nodes to a last layer of 33.
        near(by_chance(100, 10, 3) * 34.0 / 33.0, 0.000_764_603_362, 1e-9);
        assert_eq!(by_chance(100, 2, 3), 0.0);
    }

    #[test]
    fn packets_for_half_are_those_of_the_table() {
        for (share, packets) in [(0.1, [69, 693, 6_931, 69_314]), (0.2, [17, 86, 433, 2_166]), (0.3, [7, 25, 85, 285])]
        {
            for (layers, expected) in (2..).zip(packets) {
                let p = evenly(share, layers);
                near(packets_for_half(p), f64::from(expected), 0.05);
                near(exposed(p, packets_for_half(p)), 0.5, 1e-9);
            }
        }
        assert!(packets_for_half(0.0).is_infinite());
    }

    #[test]
    fn three_sticky_mixes_bound_what_many_packets_expose() {
        for share in [0.05, 0.1, 0.2f64] {
            near(exposed_pinned(share, 3, 3, 1e12), 1.0 - (1.0 - share).powi(3), 1e-9);
            near(exposed(evenly(share, 3), 1e12), 1.0, 1e-9);
            near(exposed_pinned(share, 3, 3, 1.0), exposed(evenly(share, 3), 1.0), 1e-9);
        }
    }

    #[test]
    fn a_certain_route_exposes_the_first_packet() {
        assert_eq!((exposed(1.0, 1.0), exposed(1.0, 0.0), exposed(0.0, 1e9)), (1.0, 0.0, 0.0));
    }
}
