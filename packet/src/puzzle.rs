//! The client puzzles: processor time that a client pays with before a mailbox writes anything for it, and before a full entry opens
//! a session for it.
//!
//! Equi-X (Equihash over HashX, by tevador for Tor), with the effort on top as in Tor's onion service proof of work
//! (proposal 327 and "Onion service proof-of-work" in Tor's specifications). Solving takes about 1.8 MiB and many thousand times
//! as long as verifying. Here are the binding to what is paid for and the bounds; the puzzle itself is the crate `equix`, which
//! Tor maintains beside arti.
//!
//! ```text
//! challenge = H("put puzzle", network, shared random value of the epoch, holder, box id, expiry day)
//!          or H("session puzzle", network, entry, seed, session address)
//! program   = H("puzzle nonce", challenge, nonce)
//! effort    : first 8 bytes of H("puzzle effort", program, solution) <= (2^64 - 1) / effort
//! room (32 B): nonce 16 | solution 16
//! asked (32 B, in an entry's hello): seed 28 | effort u32; all zero if nothing is asked
//! ```
//!
//! - A solution is good for one box, at one holder, until one day, in one epoch: nothing can be solved before the epoch's shared
//!   random value is known, and sending a solution again only puts the same box again.
//! - A session's is good for one address at one entry, for as long as that entry takes the seed: minutes. It knows nothing of the
//!   network document, so that a newcomer can solve it. What an entry may ask is bounded by [`SESSION_EFFORT_MAX`].
//! - The effort is no part of the challenge: what is good for 4 is good for 1.
//! - Nonces are counted from zero. A solution depends on nothing but its challenge, so it tells nothing of who solved it.
//! - An effort of 0 asks for nothing, and the room is zero then.
//!
//! HashX programs are interpreted here. `equix` can also compile them to machine code (feature `compiler`), by which solving
//! takes a tenth of the time and verifying, most of which is making the program, as long as before. That needs memory that is
//! written and then executed, in processes that read strangers' bytes, where hardened systems forbid it; it needs
//! architecture-specific unsafe code and a run-time assembler; and the bound on efforts keeps solving affordable without. A flooder
//! will compile, so the figures of what floods cost count with a compiler.

use crate::{
    geometry::{HASH, KEY, PUZZLE},
    ids::{BoxId, NetworkId, NodeId, SessionAddress},
    primitives::{hash, label},
    time::Day,
};
use equix::{EquiX, EquiXBuilder, RuntimeOption, Solution, SolverMemory};

/// Nonces tried for each unit of effort. One nonce in 6 to 7 has no solution and they average 1.9, so that the tries run out for
/// one puzzle in 10^13.
const TRIES_PER_EFFORT: u32 = 16;
/// Highest effort that is solved; a puzzle that asks for more has no solution here.
pub const EFFORT_MAX: Effort = Effort(64);

/// Highest effort that an entry may ask for a session: a few seconds of one core.
pub const SESSION_EFFORT_MAX: Effort = Effort(16);

/// How hard a puzzle is: solutions that have to be found on average. 0: there is no puzzle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Effort(pub u32);

impl Effort {
    /// No puzzle.
    pub const NONE: Effort = Effort(0);

    /// The effort of a box that is to be kept for `days` days, where `self` buys `box_days` days: as often as these begin. The first
    /// day is free, since a box may be sent by a document of the day before. The same for every box, new or renewed; less than
    /// `box_days` is no cheaper, so that the solution of no box differs from another's.
    pub fn for_days(self, days: u32, box_days: u32) -> Effort {
        let terms = days.saturating_sub(1).div_ceil(box_days.max(1)).max(1);
        Effort(self.0.saturating_mul(terms))
    }
}

/// What a puzzle is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Challenge(pub [u8; HASH]);

impl Challenge {
    /// Of a Put: this box, at this holder, until this day, in the epoch of this shared random value.
    pub fn of_put(network: &NetworkId, shared_random: &[u8; KEY], holder: &NodeId, id: &BoxId, expiry: Day) -> Self {
        let parts: [&[u8]; 5] =
            [network.as_bytes(), shared_random, holder.as_bytes(), id.as_bytes(), &expiry.0.to_be_bytes()];
        Self(hash(label::PUT_PUZZLE, &parts))
    }

    /// Of a session: this address, at this entry, while this seed is taken.
    pub fn of_session(
        network: &NetworkId,
        entry: &NodeId,
        seed: &[u8; SessionAsk::SEED],
        address: &SessionAddress,
    ) -> Self {
        Self(hash(label::SESSION_PUZZLE, &[network.as_bytes(), entry.as_bytes(), seed, &address.0]))
    }

    fn program(&self, nonce: &[u8; 16]) -> [u8; HASH] {
        hash(label::PUZZLE_NONCE, &[&self.0, nonce])
    }
}

/// What an entry asks of who wants a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionAsk {
    /// Of these minutes, for everybody.
    pub seed: [u8; Self::SEED],
    /// How hard.
    pub effort: Effort,
}

impl SessionAsk {
    /// Bytes of a seed.
    pub const SEED: usize = PUZZLE - 4;

    /// As it stands in an entry's hello.
    pub fn to_room(self) -> [u8; PUZZLE] {
        let mut bytes = self.seed.into_iter().chain(self.effort.0.to_be_bytes());
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }

    /// What an entry's hello asks; `None` if nothing.
    pub fn from_room(room: &[u8; PUZZLE]) -> Option<Self> {
        let effort = Effort(u32::from_be_bytes(*room.last_chunk().expect("four of the room's bytes")));
        let seed = *room.first_chunk().expect("the other bytes of the room");
        (effort != Effort::NONE).then_some(Self { seed, effort })
    }

    /// The puzzle of one session at one entry.
    pub fn puzzle(&self, network: &NetworkId, entry: &NodeId, address: &SessionAddress) -> Puzzle {
        Puzzle { challenge: Challenge::of_session(network, entry, &self.seed, address), effort: self.effort }
    }
}

/// A challenge and how hard it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Puzzle {
    /// What it is bound to.
    pub challenge: Challenge,
    /// How hard it is.
    pub effort: Effort,
}

impl Puzzle {
    /// Finds the first solution: tens to hundreds of milliseconds of one core and 1.8 MiB, so for workers alone. Zero if there is no
    /// puzzle.
    ///
    /// `None` above [`EFFORT_MAX`], and when the tries run out (one puzzle in 10^13).
    pub fn solve(&self) -> Option<[u8; PUZZLE]> {
        if self.effort == Effort::NONE {
            return Some([0; PUZZLE]);
        }
        if self.effort > EFFORT_MAX {
            return None;
        }
        let mut memory = SolverMemory::new();
        let tries = self.effort.0 * TRIES_PER_EFFORT;
        (0..u128::from(tries)).find_map(|nonce| self.solve_nonce(nonce.to_be_bytes(), &mut memory))
    }

    fn solve_nonce(&self, nonce: [u8; 16], memory: &mut SolverMemory) -> Option<[u8; PUZZLE]> {
        let program = self.challenge.program(&nonce);
        let found = equix(&program)?.solve_with_memory(memory);
        let good = found.iter().map(Solution::to_bytes).find(|solution| self.suffices(&program, solution))?;
        Some(join(nonce, good))
    }

    /// Checks a solution: at most 0.1 ms, most of it for solutions that pass the two cheap checks before. Of a puzzle of no effort
    /// only the zero room is one, so that there is one way to send a Put.
    pub fn verify(&self, room: &[u8; PUZZLE]) -> bool {
        if self.effort == Effort::NONE {
            return *room == [0; PUZZLE];
        }
        let (nonce, solution) = split(room);
        let program = self.challenge.program(&nonce);
        let Ok(ordered) = Solution::try_from_bytes(&solution) else { return false };
        self.suffices(&program, &solution) && equix(&program).is_some_and(|equix| equix.verify(&ordered).is_ok())
    }

    fn suffices(&self, program: &[u8; HASH], solution: &[u8; 16]) -> bool {
        let digest = hash(label::PUZZLE_EFFORT, &[program, solution]);
        let first = digest.first_chunk().expect("a hash is longer than 8 bytes");
        u64::from_be_bytes(*first) <= u64::MAX / u64::from(self.effort.0.max(1))
    }
}

/// The puzzle of a program; a few programs in a thousand do not work, and their nonces are passed over.
fn equix(program: &[u8; HASH]) -> Option<EquiX> {
    // Named here too: another crate that switches the compiler on would switch it on for all.
    EquiXBuilder::new().runtime(RuntimeOption::InterpretOnly).build(program).ok()
}

fn join(nonce: [u8; 16], solution: [u8; 16]) -> [u8; PUZZLE] {
    let mut bytes = nonce.into_iter().chain(solution);
    std::array::from_fn(|_| bytes.next().unwrap_or_default())
}

fn split(room: &[u8; PUZZLE]) -> ([u8; 16], [u8; 16]) {
    let first = room.first_chunk().expect("half of the room");
    let last = room.last_chunk().expect("half of the room");
    (*first, *last)
}
