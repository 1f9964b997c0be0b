//! Building packets: the expensive public-key work, outside the engine. The engine decides everything that is in a job; a
//! worker, or the simulation, runs [`BuildJob::run`] and hands the result back.

use veilpost_packet::{
    command::Command,
    ids::{DocumentHash, NodeId, SurbId},
    sphinx::{BuildError, Delays, Packet, Route, Surb, SurbRecovery, build},
    time::Epoch,
};

/// What a finished packet is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Slot {
    Put,
    Decoy,
    Upkeep,
    Get,
    Loop,
}

/// All that goes into one packet.
#[derive(Debug)]
pub struct BuildJob {
    pub(super) number: u64,
    pub(super) session: u64,
    pub(super) epoch: Epoch,
    pub(super) document: DocumentHash,
    pub(super) secret: [u8; 32],
    pub(super) route: Route,
    pub(super) delays: Delays,
    pub(super) surb_id: SurbId,
    pub(super) surb_secret: [u8; 32],
    pub(super) surb_route: Route,
    pub(super) surb_delays: Delays,
    pub(super) mailbox: NodeId,
    pub(super) command: Command,
}

/// A packet that waits for its tick.
#[derive(Debug)]
pub struct Built {
    pub(super) number: u64,
    pub(super) session: u64,
    /// The epoch of its route, there and back.
    pub(super) epoch: Epoch,
    /// The document that the route is of.
    pub(super) document: DocumentHash,
    pub(super) surb_id: SurbId,
    pub(super) mailbox: NodeId,
    pub(super) result: Result<(Packet, SurbRecovery), BuildError>,
}

impl BuildJob {
    /// Makes SURB and packet: about 1.3 ms.
    pub fn run(self) -> Built {
        let made = Surb::new(self.surb_secret, self.surb_id, &self.surb_route, &self.surb_delays).and_then(
            |(surb, recovery)| {
                let packet = build(self.secret, &self.route, &self.delays, &self.command.encode(&surb))?;
                Ok((packet, recovery))
            },
        );
        Built {
            number: self.number,
            session: self.session,
            epoch: self.epoch,
            document: self.document,
            surb_id: self.surb_id,
            mailbox: self.mailbox,
            result: made,
        }
    }
}
