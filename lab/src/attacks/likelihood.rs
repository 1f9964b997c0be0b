//! From which of two senders is a packet in the last layer? Piotrowska et al., "The Loopix Anonymity System", USENIX Security 2017,
//! section 4.1.3, equation 3: epsilon = |ln (p0 / p1)|, with what the masses of both senders' packets have come to.

use super::masses::Masses;
use crate::flow::view::{Adversary, End, Observer, Sight, What};

/// The attack: follows all packets of senders 0 and 1.
#[derive(Debug)]
pub struct Likelihood(Masses);

impl Likelihood {
    /// Nothing seen yet, of a network with so many mixes.
    pub fn new(mixes: usize, adversary: Adversary) -> Self {
        Self(Masses::new(2, mixes, adversary))
    }

    /// The difference at an honest mix, over all that it holds. Infinite if it holds mass of one sender alone, `None` if of neither.
    pub fn epsilon(&self, mix: usize) -> Option<f64> {
        let [one, other] = self.0.held(mix) else { return None };
        (*one > 0.0 || *other > 0.0).then(|| (one / other).ln().abs())
    }
}

impl Observer for Likelihood {
    fn see(&mut self, sight: &Sight) {
        self.0.see(sight);
        if let What::Sent { from: End::Sender(sender @ (0 | 1)), .. } = sight.what {
            self.0.follow(sight.frame, sender as usize);
        }
    }
}
