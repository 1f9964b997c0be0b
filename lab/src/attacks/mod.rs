//! Attacks, a file each, the paper named in its first lines. An attack is handed what its adversary sees: times on links, what corrupt
//! mixes or mailboxes tell, never which packet is whose. Measurements compare its guesses with the truth.
//!
//! On one client's line: [`classifier`], trained on looks at idle and busy ones (Fisher).
//!
//! On flows through the mixes (an [`crate::flow::view::Observer`], or what one wrote down):
//!
//! | file | attack |
//! |---|---|
//! | [`masses`] | where may the packets be that somebody sent? The bookkeeping of the next two |
//! | [`entropy`] | among how many does one packet hide (MiXiM) |
//! | [`likelihood`] | from which of two senders is a packet (Loopix) |
//! | [`recursion`] | the entropy of a single mix, one departure after another (Loopix) |
//! | [`pairing`] | first in is first out (Das et al.) |
//! | [`matching`] | which flow that leaves is the one that came in (Danezis, MixMatch) |
//! | [`routes`] | routes of corrupt mixes alone, over many packets, with guards and sticky mixes (MiXiM, Bow-Tie) |
//!
//! On crowds of clients at mailboxes:
//!
//! | file | attack | view |
//! |---|---|---|
//! | [`disclosure`] | statistical disclosure, least squares | counts of who receives after somebody sends |
//! | [`receipts`] | receipts against sealed sender | the same, after somebody reads |
//! | [`series`] | whose are the requests for one box, or for several | lines and mailboxes |
//! | [`clusters`] | what falls silent and returns together | mailboxes |
//! | [`presence`] | who was offline while a box waited | mailboxes and lines |
//! | [`bulk`] | who sends or reads a file | lines, and mailboxes |

pub mod bulk;
pub mod classifier;
pub mod clusters;
pub mod disclosure;
pub mod entropy;
pub mod likelihood;
pub mod masses;
pub mod matching;
pub mod pairing;
pub mod presence;
pub mod receipts;
pub mod recursion;
pub mod routes;
pub mod series;

/// How somebody comes out of an attack's scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rank {
    /// Candidates with a higher score, and half of those with the same.
    pub above: f64,
    /// Probability of being named, as one of the highest.
    pub first: f64,
    /// Candidates in all.
    pub of: usize,
}

impl Rank {
    /// Of the candidate `who` by its score; the highest is the likeliest. `None` if there is no such candidate.
    pub fn of(scores: &[f64], who: usize) -> Option<Self> {
        let own = *scores.get(who)?;
        let higher = scores.iter().filter(|score| **score > own).count() as f64;
        let same = scores.iter().filter(|score| **score == own).count() as f64;
        let first = if higher == 0.0 { 1.0 / same } else { 0.0 };
        Some(Self { above: higher + (same - 1.0) / 2.0, first, of: scores.len() })
    }

    /// Place among all from 0 (first) to 1 (last): uniform at chance.
    pub fn place(&self) -> f64 {
        (self.above + 0.5) / self.of.max(1) as f64
    }

    /// Bits by which the search is shorter than among all candidates in random order, log2(N) - log2(rank), less what chance gives
    /// (1 / ln 2 on average among many).
    pub fn bits(&self) -> f64 {
        let n = self.of.max(1) as f64;
        let chance = (1..=self.of).map(|rank| (n / rank as f64).log2()).sum::<f64>() / n;
        (n / (self.above + 1.0)).log2() - chance
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_highest_score_is_first_and_ties_share_the_place() {
        let first = Rank::of(&[3.0, 1.0, 2.0], 0).unwrap();
        assert_eq!((first.above, first.first), (0.0, 1.0));
        let tied = Rank::of(&[1.0; 4], 2).unwrap();
        assert_eq!((tied.above, tied.first, tied.place()), (1.5, 0.25, 0.5));
        assert_eq!(Rank::of(&[1.0], 1), None);
    }

    #[test]
    fn chance_gives_no_bits() {
        let scores: Vec<f64> = (0..1_000).map(f64::from).collect();
        let bits = (0..1_000).map(|who| Rank::of(&scores, who).unwrap().bits()).sum::<f64>() / 1_000.0;
        assert!(bits.abs() < 1e-9, "{bits}");
    }
}
