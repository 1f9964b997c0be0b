//! The entropy of one mix, departure after departure. Piotrowska, Hayes, Elahi, Meiser and Danezis, "The Loopix Anonymity System",
//! USENIX Security 2017, equation 5.
//!
//! With k packets that came since the last departure and l that were left by it, whose entropy was H', the one that leaves now is one of the
//! k with probability k / (k + l), each as likely, or one of the l: H = h(k / (k+l)) + k / (k+l) log2 k + l / (k+l) H'.

use crate::flow::view::{End, Observer, Sight, What};
use veilpost_packet::time::Timestamp;

/// The attack, on the first mix.
#[derive(Clone, Debug)]
pub struct Recursion {
    from: Timestamp,
    came: f64,
    left: f64,
    bits: f64,
    entropies: Vec<f64>,
    pools: Vec<f64>,
}

/// Entropy of a departure; see the head of the module.
pub fn next_entropy(came: f64, left: f64, before: f64) -> f64 {
    let all = came + left;
    let part = |count: f64, within: f64| {
        let share = count / all;
        if count > 0.0 { share * (within - share.log2()) } else { 0.0 }
    };
    part(came, came.max(1.0).log2()) + part(left, before)
}

impl Recursion {
    /// Writes down what happens from this moment on.
    pub fn new(from: Timestamp) -> Self {
        Self { from, came: 0.0, left: 0.0, bits: 0.0, entropies: Vec::new(), pools: Vec::new() }
    }

    /// Bits of each departure.
    pub fn entropies(&self) -> &[f64] {
        &self.entropies
    }

    /// What each packet that came found in the mix.
    pub fn pools(&self) -> &[f64] {
        &self.pools
    }
}

impl Observer for Recursion {
    fn see(&mut self, sight: &Sight) {
        match sight.what {
            What::Arrived { to: End::Mix(0) } => {
                if sight.at >= self.from {
                    self.pools.push(self.came + self.left);
                }
                self.came += 1.0;
            }
            What::Sent { from: End::Mix(0), .. } => {
                self.bits = next_entropy(self.came, self.left, self.bits);
                self.left += self.came - 1.0;
                self.came = 0.0;
                if sight.at >= self.from {
                    self.entropies.push(self.bits);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_n_that_came_together_hides_among_n_and_alone_among_one() {
        assert_eq!(next_entropy(8.0, 0.0, 0.0), 3.0);
        assert_eq!(next_entropy(1.0, 0.0, 0.0), 0.0);
        assert_eq!(next_entropy(0.0, 5.0, 1.5), 1.5);
    }

    #[test]
    fn as_many_new_ones_as_equally_likely_old_ones_add_one_bit() {
        assert!((next_entropy(4.0, 4.0, 2.0) - 3.0).abs() < 1e-12);
    }
}
