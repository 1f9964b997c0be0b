//! Where packets are made, unwrapped and answered: with the real cryptography, or with model packets of the same sizes and
//! shapes, which take a hundredth of the time.

use veilpost_client::core::{BuildJob, Built};
use veilpost_cover::{BuiltLoop, LoopJob};
use veilpost_packet::{
    exchange::Exchange,
    sphinx::{self, BuildError, Packet, Reject, SphinxSecret, Surb, Unwrapped, model},
};

/// What packets are made of. Engines cannot tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Packets {
    /// Sphinx packets.
    #[default]
    Real,
    /// Packets whose route and payload are readable: `veilpost_packet::sphinx::model`.
    Model,
}

impl Packets {
    pub(super) fn run(self, job: BuildJob) -> Built {
        match self {
            Self::Real => job.run(),
            Self::Model => job.run_with(Exchange::build_model),
        }
    }

    pub(super) fn run_loop(self, job: LoopJob) -> BuiltLoop {
        match self {
            Self::Real => job.run(),
            Self::Model => job.run_with(Exchange::build_model),
        }
    }

    /// At a node, or at a client's session: `here` is the address of either.
    pub(super) fn unwrap(self, here: &[u8; 32], secret: &SphinxSecret, packet: &Packet) -> Result<Unwrapped, Reject> {
        match self {
            Self::Real => sphinx::unwrap(secret, packet),
            Self::Model => model::unwrap(here, packet),
        }
    }

    pub(super) fn reply(self, surb: Surb, plaintext: &[u8]) -> Result<Packet, BuildError> {
        match self {
            Self::Real => surb.reply(plaintext),
            Self::Model => model::reply(&surb, plaintext),
        }
    }
}
