//! What an entry under load asks of who wants a session: processor time, so that nobody takes all of its sessions for nothing.
//!
//! Whoever comes may know no document yet, so nothing of it is used: the entry's own hello says what is asked (see
//! [`SessionAsk`]), the link ends, and the client comes again with the solution in its hello. The entry keeps nothing of who was
//! asked. A solution is good for one session address at one entry while its seed is, and an address is taken once at a time.

use std::time::Duration;
use veilpost_packet::{
    frame::Hello,
    ids::{NetworkId, NodeId, SessionAddress},
    puzzle::{Effort, SessionAsk},
    random::{EngineRng, bytes},
    time::Timestamp,
};

/// How long a seed is asked with. It is taken for as long again: a slow client solves for a minute.
const PERIOD: Duration = Duration::from_secs(300);
/// Effort from a half of the sessions on, and for each further eighth.
const EFFORTS: [u32; 4] = [1, 2, 4, 8];

type Seed = [u8; SessionAsk::SEED];

/// The seeds that are asked with.
#[derive(Debug)]
pub(super) struct Toll {
    entry: NodeId,
    current: Seed,
    before: Option<Seed>,
    changes: Timestamp,
}

impl Toll {
    pub(super) fn new(entry: NodeId) -> Self {
        Self { entry, current: [0; SessionAsk::SEED], before: None, changes: Timestamp::ZERO }
    }

    /// How hard it is to get the next session when so many of so many are open.
    pub(super) fn effort(open: usize, most: usize) -> Effort {
        let eighths = open.saturating_mul(8) / most.max(1);
        eighths.checked_sub(4).map_or(Effort::NONE, |step| Effort(*EFFORTS.get(step).unwrap_or(&EFFORTS[3])))
    }

    /// # Errors
    /// What is asked, if the hello has no solution of that.
    pub(super) fn check(
        &mut self,
        now: Timestamp,
        rng: &mut EngineRng,
        network: &NetworkId,
        (hello, address): (&Hello, &SessionAddress),
        effort: Effort,
    ) -> Result<(), SessionAsk> {
        if effort == Effort::NONE {
            return Ok(());
        }
        self.turn(now, rng);
        let solved = [Some(self.current), self.before].into_iter().flatten().any(|seed| {
            let ask = SessionAsk { seed, effort };
            ask.puzzle(network, &self.entry, address).verify(&hello.puzzle)
        });
        if solved { Ok(()) } else { Err(SessionAsk { seed: self.current, effort }) }
    }

    fn turn(&mut self, now: Timestamp, rng: &mut EngineRng) {
        // A clock that was set back turns them too: none is asked with for longer than a period.
        let from = self.changes - PERIOD;
        if now < self.changes && now >= from {
            return;
        }
        let just = now >= self.changes && now < self.changes + PERIOD;
        self.before = just.then_some(self.current);
        self.current = bytes(rng);
        self.changes = now + PERIOD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_pay_from_a_half_on_and_more_the_fuller_it_is() {
        let efforts =
            [0, 2_047, 2_048, 2_559, 2_560, 3_072, 3_584, 4_095, 4_096].map(|open| Toll::effort(open, 4_096).0);
        assert_eq!(efforts, [0, 0, 1, 1, 2, 4, 8, 8, 8]);
        assert_eq!((Toll::effort(0, 0), Toll::effort(1, 1)), (Effort::NONE, Effort(8)));
    }
}
