//! Where packets are made, unwrapped and answered: with the real cryptography, or with model packets of the same sizes and
//! shapes, which take a hundredth of the time.

use std::sync::Arc;
use veilpost_client::core::{BuildJob, Built};
use veilpost_cover::{BuiltLoop, LoopJob};
use veilpost_packet::{
    exchange::Exchange,
    geometry::ADDRESS,
    sphinx::{self, BuildError, Packet, Reject, SphinxPublic, SphinxSecret, Surb, Unwrapped, model},
};

/// Who unwraps packets: a node in an epoch, or a client in a session.
#[derive(Clone)]
pub(super) struct Opener {
    address: [u8; ADDRESS],
    secret: Arc<SphinxSecret>,
    public: SphinxPublic,
}

impl Opener {
    pub(super) fn new(address: [u8; ADDRESS], secret: Arc<SphinxSecret>) -> Self {
        Self { address, public: secret.public(), secret }
    }

    pub(super) fn public(&self) -> SphinxPublic {
        self.public
    }
}

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

    pub(super) fn unwrap(self, opener: &Opener, packet: &Packet) -> Result<Unwrapped, Reject> {
        match self {
            Self::Real => sphinx::unwrap(&opener.secret, packet),
            Self::Model => model::unwrap(&opener.address, &opener.public, packet),
        }
    }

    pub(super) fn reply(self, surb: Surb, plaintext: &[u8]) -> Result<Packet, BuildError> {
        match self {
            Self::Real => surb.reply(plaintext),
            Self::Model => model::reply(&surb, plaintext),
        }
    }
}
