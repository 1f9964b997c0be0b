//! A command's way to a mailbox and its reply's way back: all that goes into one packet and its SURB.

use super::{BuildError, Delays, Packet, Route, Surb, SurbRecovery, build};
use crate::{command::Command, geometry::KEY, ids::SurbId};

/// What an engine draws for one command; a worker makes the packet of it.
#[derive(Debug)]
pub struct RoundTrip {
    /// 32 fresh random bytes, of the packet.
    pub secret: [u8; KEY],
    /// To the mailbox.
    pub route: Route,
    /// On that way.
    pub delays: Delays,
    /// Names the reply.
    pub surb_id: SurbId,
    /// 32 fresh random bytes, of the SURB.
    pub surb_secret: [u8; KEY],
    /// Back from the mailbox.
    pub surb_route: Route,
    /// On that way.
    pub surb_delays: Delays,
}

impl RoundTrip {
    /// Makes SURB and packet: about 1.3 ms.
    ///
    /// # Errors
    /// If a key of a route is no key.
    pub fn build(&self, command: &Command) -> Result<(Packet, SurbRecovery), BuildError> {
        let (surb, recovery) = Surb::new(self.surb_secret, self.surb_id, &self.surb_route, &self.surb_delays)?;
        Ok((build(self.secret, &self.route, &self.delays, &command.encode(&surb))?, recovery))
    }

    /// The same without cryptography, see [`super::model`].
    ///
    /// # Errors
    /// None: the type is that of [`RoundTrip::build`].
    #[cfg(feature = "model")]
    pub fn build_model(&self, command: &Command) -> Result<(Packet, SurbRecovery), BuildError> {
        let number = |secret: &[u8; KEY]| std::array::from_fn(|at| secret.get(at).copied().unwrap_or_default());
        let (surb, recovery) =
            super::model::surb(number(&self.surb_secret), self.surb_id, &self.surb_route, &self.surb_delays)?;
        let plaintext = command.encode(&surb);
        Ok((super::model::build(number(&self.secret), &self.route, &self.delays, &plaintext)?, recovery))
    }
}
