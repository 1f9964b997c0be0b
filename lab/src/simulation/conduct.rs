//! Mixes and entries that do not do what they should: the real engine behind a shell that mangles what goes through.

use rand::Rng as _;
use std::{collections::BTreeMap, time::Duration};
use veilpost_mixnode::Forward;
use veilpost_packet::{geometry::SPHINX_HEADER, random::EngineRng, sphinx::Packet, time::Timestamp};

/// What a relay does with packets that others sent through it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Conduct {
    /// What it should.
    #[default]
    Honest,
    /// Drops this share of them; all but one in so many to single one out (an n-1 attack).
    Drops(f64),
    /// Keeps each so much longer.
    Delays(Duration),
    /// Flips a bit of each payload, to know it again further on.
    Tags,
    /// Sends each twice.
    Replays,
}

/// The shell around a relay's engine.
#[derive(Default)]
pub(super) struct Shell {
    conduct: Conduct,
    late: BTreeMap<(Timestamp, u64), Forward>,
    count: u64,
}

impl Shell {
    pub(super) fn new(conduct: Conduct) -> Self {
        Self { conduct, ..Self::default() }
    }

    /// What leaves in place of these packets.
    pub(super) fn mangle(&mut self, now: Timestamp, rng: &mut EngineRng, packets: Vec<Forward>) -> Vec<Forward> {
        match self.conduct {
            Conduct::Honest => packets,
            Conduct::Drops(share) => packets.into_iter().filter(|_| !rng.random_bool(share)).collect(),
            Conduct::Delays(by) => {
                for packet in packets {
                    self.count += 1;
                    self.late.insert((now + by, self.count), packet);
                }
                let later = self.late.split_off(&(now, u64::MAX));
                std::mem::replace(&mut self.late, later).into_values().collect()
            }
            Conduct::Tags => packets.into_iter().map(tagged).collect(),
            Conduct::Replays => packets.iter().chain(&packets).cloned().collect(),
        }
    }

    /// When a late packet is due.
    pub(super) fn next_wake(&self) -> Timestamp {
        self.late.first_key_value().map_or(Timestamp::FAR_FUTURE, |((due, _), _)| *due)
    }
}

fn tagged(forward: Forward) -> Forward {
    let mut bytes = forward.packet.as_bytes().to_vec();
    bytes.iter_mut().skip(SPHINX_HEADER).take(1).for_each(|byte| *byte ^= 1);
    Forward { packet: Packet::from_bytes(&bytes).expect("the size is the same"), ..forward }
}
