//! A command and the way of its answer, ready to be built: the expensive public-key work, outside every engine. An engine decides
//! all that is in an [`Exchange`]; a worker, or a simulation, calls [`Exchange::build`] and hands the result back.

use crate::{
    command::Command,
    geometry::KEY,
    ids::SurbId,
    sphinx::{BuildError, Hop, Packet, Surb, SurbRecovery, build},
};
use std::time::Duration;

/// One way of a packet.
#[derive(Clone, Debug)]
pub struct Way {
    /// 32 fresh random bytes.
    pub secret: [u8; KEY],
    /// First to last, at most [`crate::geometry::ROUTE_HOPS`].
    pub hops: Vec<Hop>,
    /// One for each hop but the last.
    pub delays: Vec<Duration>,
}

/// The ways of a command and of its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// To the mailbox.
    pub there: Way,
    /// Names the answer to whoever asks.
    pub surb_id: SurbId,
    /// Back to whoever asks, who is the last hop.
    pub back: Way,
}

impl Exchange {
    /// Makes SURB and packet: about 1.3 ms for five hops each way.
    ///
    /// # Errors
    /// [`BuildError`] for routes that cannot be.
    pub fn build(&self, command: &Command) -> Result<(Packet, SurbRecovery), BuildError> {
        let Way { secret, hops, delays } = &self.back;
        let (surb, recovery) = Surb::new(*secret, self.surb_id, hops, delays)?;
        let Way { secret, hops, delays } = &self.there;
        Ok((build(*secret, hops, delays, &command.encode(&surb))?, recovery))
    }

    /// All delays that were drawn, of both ways.
    pub fn delay(&self) -> Duration {
        self.there.delays.iter().chain(&self.back.delays).fold(Duration::ZERO, |sum, delay| sum.saturating_add(*delay))
    }

    /// The same without cryptography: see [`crate::sphinx::model`].
    ///
    /// # Errors
    /// If a way has no hop.
    #[cfg(feature = "model")]
    pub fn build_model(&self, command: &Command) -> Result<(Packet, SurbRecovery), BuildError> {
        use crate::sphinx::model;
        let number = |way: &Way| std::array::from_fn(|at| way.secret.get(at).copied().unwrap_or_default());
        let (there, back) = (&self.there, &self.back);
        let (surb, recovery) = model::surb(number(back), self.surb_id, &back.hops, &back.delays)?;
        let plaintext = command.encode(&surb);
        Ok((model::build(number(there), &there.hops, &there.delays, &plaintext)?, recovery))
    }
}
