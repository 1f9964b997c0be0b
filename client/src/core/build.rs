//! Building packets: the expensive public-key work, outside the engine. The engine decides everything that is in a job; a
//! worker, or the simulation, runs [`BuildJob::run`] and hands the result back.

use veilpost_packet::{
    command::Command,
    exchange::Exchange,
    frame::Frame,
    ids::{DocumentHash, NodeId, SurbId},
    puzzle::{Effort, Puzzle},
    sphinx::{BuildError, Packet, SurbRecovery},
    time::Epoch,
};
use veilpost_pki::View;

/// What a finished packet is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Slot {
    Put,
    Decoy,
    Upkeep,
    Get,
    Loop,
}

/// The puzzle of a command to this mailbox, by the document that its packet is of: what a mailbox looks up too.
pub(super) fn puzzle_of(document: &View, command: &Command, mailbox: &NodeId) -> Option<Puzzle> {
    let Command::Put { sealed, .. } = command else { return None };
    Some(document.put_admission().puzzle(mailbox, &sealed.id, sealed.expiry))
}

/// How a command goes to its mailbox, and its answer comes back.
#[derive(Debug)]
pub(super) enum Path {
    /// Through the mixes, there and back.
    Mixes(Box<Exchange>),
    /// Straight to the mailbox; the answer is known by this name.
    Direct(SurbId),
}

/// What a tick sends.
#[derive(Debug)]
pub(super) enum Made {
    /// A packet, and what opens its reply.
    Packet(Packet, SurbRecovery),
    /// A frame for the mailbox itself.
    Command(Frame),
}

/// All that goes into one packet, or one command without.
#[derive(Debug)]
pub struct BuildJob {
    pub(super) number: u64,
    pub(super) session: u64,
    pub(super) epoch: Epoch,
    pub(super) document: DocumentHash,
    pub(super) path: Path,
    pub(super) mailbox: NodeId,
    pub(super) command: Command,
    /// What a Put pays with; `None` for commands that pay nothing.
    pub(super) puzzle: Option<Puzzle>,
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
    /// All nodes on its way, there and back.
    pub(super) nodes: Vec<NodeId>,
    pub(super) result: Result<Made, BuildError>,
}

impl BuildJob {
    /// True if a puzzle has to be solved: such a job takes a hundred times as long as others, which must not wait for it.
    pub fn is_slow(&self) -> bool {
        self.puzzle.is_some_and(|puzzle| puzzle.effort > Effort::NONE)
    }

    /// All nodes on the way, there and back: the last hop of the reply is the client.
    fn nodes(&self) -> Vec<NodeId> {
        let Path::Mixes(exchange) = &self.path else { return vec![self.mailbox] };
        let back = exchange.back.hops.iter().rev().skip(1).rev();
        exchange.there.hops.iter().chain(back).map(|hop| NodeId(hop.address)).collect()
    }

    /// Solves the Put's puzzle if there is one (tens to hundreds of milliseconds), and makes SURB and packet: about 1.3 ms.
    pub fn run(self) -> Built {
        self.run_with(Exchange::build)
    }

    /// As [`BuildJob::run`], with packets that `make` makes: a simulation's.
    pub fn run_with(
        mut self,
        make: impl FnOnce(&Exchange, &Command) -> Result<(Packet, SurbRecovery), BuildError>,
    ) -> Built {
        if let (Command::Put { puzzle: room, .. }, Some(puzzle)) = (&mut self.command, self.puzzle) {
            // Of 10^13 puzzles one is not solved: its box is refused, and sent again to another holder on its schedule.
            *room = puzzle.solve().unwrap_or_default();
        }
        let (surb_id, result) = match &self.path {
            Path::Mixes(exchange) => {
                let made = make(exchange, &self.command);
                (exchange.surb_id, made.map(|(packet, recovery)| Made::Packet(packet, recovery)))
            }
            Path::Direct(id) => (*id, Ok(Made::Command(self.command.to_frame(self.epoch)))),
        };
        Built {
            number: self.number,
            session: self.session,
            epoch: self.epoch,
            document: self.document,
            surb_id,
            mailbox: self.mailbox,
            nodes: self.nodes(),
            result,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use std::time::Duration;
    use veilpost_packet::{
        boxes::{BoxClass, BoxTerms, StreamRoot},
        exchange::Way,
        frame::FrameKind,
        geometry::{PUZZLE, ROUTE_HOPS},
        ids::{District, NetworkId},
        sphinx::{Hop, SphinxSecret, Unwrapped, unwrap},
        time::Day,
    };
    use veilpost_pki::PutAdmission;

    const NETWORK: NetworkId = NetworkId([1; 32]);
    const HOLDER: NodeId = NodeId([ROUTE_HOPS as u8; 32]);

    fn secret(place: usize) -> SphinxSecret {
        SphinxSecret::from_seed([place as u8 + 1; 32])
    }

    fn put() -> Command {
        let terms = BoxTerms { district: District(0), class: BoxClass::Solo, expiry: Day(20) };
        Command::put(StreamRoot::new([7; 32]).write_cap().seal_next(&NETWORK, terms, b"content").unwrap())
    }

    fn puzzle(command: &Command, effort: u32) -> Option<Puzzle> {
        let Command::Put { sealed, .. } = command else { return None };
        let admission =
            PutAdmission { effort: Effort(effort), box_days: 15, day: Day(5), ..PutAdmission::free(NETWORK) };
        Some(admission.puzzle(&HOLDER, &sealed.id, sealed.expiry))
    }

    fn job(command: Command, puzzle: Option<Puzzle>) -> BuildJob {
        let hop = |place: usize| Hop { address: [place as u8 + 1; 32], key: secret(place).public() };
        let way = |secret| Way {
            secret: [secret; 32],
            hops: (0..ROUTE_HOPS).map(hop).collect(),
            delays: vec![Duration::ZERO; ROUTE_HOPS - 1],
        };
        BuildJob {
            number: 1,
            session: 1,
            epoch: Epoch(1),
            document: DocumentHash([2; 8]),
            path: Path::Mixes(Box::new(Exchange {
                there: way(8),
                surb_id: SurbId::new([3; 16]).unwrap(),
                back: way(9),
            })),
            mailbox: HOLDER,
            command,
            puzzle,
        }
    }

    /// The room of a Put's puzzle as the mailbox at the end of the route reads it.
    fn arrived(built: Built) -> [u8; PUZZLE] {
        let Made::Packet(mut packet, _) = built.result.unwrap() else { panic!("no packet") };
        for place in 0.. {
            match unwrap(&secret(place), &packet).unwrap() {
                Unwrapped::Forward { packet: next, .. } => packet = next,
                Unwrapped::Deliver { payload, .. } => {
                    let (_, command) = Command::decode(&payload.open_forward().unwrap()).unwrap();
                    let Command::Put { puzzle, .. } = command else { panic!("no Put") };
                    return puzzle;
                }
            }
        }
        unreachable!()
    }

    #[test]
    fn a_put_arrives_with_the_solution_of_its_holder_s_puzzle() {
        let puzzle = puzzle(&put(), 1);
        let job = job(put(), puzzle);
        assert!(job.is_slow());
        assert!(puzzle.unwrap().verify(&arrived(job.run())));
    }

    #[test]
    fn a_command_without_mixes_is_the_same_command_in_a_frame_and_pays_the_same() {
        let puzzle = puzzle(&put(), 1);
        let id = SurbId::new([4; 16]).unwrap();
        let built = BuildJob { path: Path::Direct(id), ..job(put(), puzzle) }.run();
        assert_eq!((built.surb_id, &built.nodes[..]), (id, &[HOLDER][..]));
        let Made::Command(frame) = built.result.unwrap() else { panic!("a packet") };
        assert!(frame.kind() == FrameKind::Command && frame.flags().is_for(Epoch(1)));
        let Command::Put { puzzle: room, .. } = Command::from_body(frame.body()).unwrap() else { panic!("no Put") };
        assert!(puzzle.unwrap().verify(&room));
    }

    #[test]
    fn a_put_that_pays_nothing_is_built_beside_all_others_with_an_empty_room() {
        let job = job(put(), puzzle(&put(), 0));
        assert!(!job.is_slow());
        assert_eq!(arrived(job.run()), [0; PUZZLE]);
    }
}
