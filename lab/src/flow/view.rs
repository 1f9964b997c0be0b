//! What an adversary of the mix network sees. Attacks are handed [`Sight`]s and nothing else: which packet a frame is, who wrote it
//! and where it ends stay with the simulation.

use rand::seq::SliceRandom;
use veilpost_packet::{random::EngineRng, time::Timestamp};

/// One crossing of a link. A packet looks new on every link, so it is another frame on each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame(pub u64);

/// An end of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum End {
    /// Who sends packets into the network.
    Sender(u32),
    /// A mix, counted through all layers from the first.
    Mix(usize),
    /// Who gets what leaves the last layer.
    Receiver(u32),
}

/// Something that the adversary sees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// The frame.
    pub frame: Frame,
    /// What happens to it.
    pub what: What,
}

/// What happens to a frame.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum What {
    /// It leaves one end of a link for the other.
    Sent {
        /// From there.
        from: End,
        /// To there.
        to: End,
        /// The frame that it came to `from` as; known where `from` is a corrupt mix, hidden everywhere else.
        was: Option<Frame>,
        /// Packets that waited in `from`, this one among them; 1 at senders. Who counts what comes to a mix and goes knows it;
        /// where mixes make or drop dummies it is granted, as MiXiM grants it.
        pool: usize,
    },
    /// It reaches the end of the link. A frame that is lost on the way never does.
    Arrived {
        /// There.
        to: End,
    },
}

/// Who is shown the sights, in order of time.
pub trait Observer {
    /// Something happens.
    fn see(&mut self, sight: &Sight);
}

/// A global passive adversary, who sees the time of every frame on every link, and whose mixes, if there are any, tell which frame
/// became which.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Adversary {
    corrupt: Vec<bool>,
}

impl Adversary {
    /// Sees all links and has no mix.
    pub fn passive() -> Self {
        Self::default()
    }

    /// Has this share of all mixes besides, as near as whole mixes come to it: evenly over the layers, by chance within each.
    pub fn with_mixes(share: f64, layers: usize, width: usize, rng: &mut EngineRng) -> Self {
        let total = (share * (layers * width) as f64).round() as usize;
        // Where it does not come out even, chance decides which layers have one more.
        let mut extra: Vec<bool> = (0..layers).map(|layer| layer < total % layers).collect();
        extra.shuffle(rng);
        let layer = |extra: bool| {
            let count = total / layers + usize::from(extra);
            let mut mixes: Vec<bool> = (0..width).map(|mix| mix < count).collect();
            mixes.shuffle(rng);
            mixes
        };
        Self { corrupt: extra.into_iter().flat_map(layer).collect() }
    }

    /// True for a mix that tells.
    pub fn has(&self, mix: usize) -> bool {
        self.corrupt.get(mix).copied().unwrap_or(false)
    }

    /// How many mixes it has.
    pub fn mixes(&self) -> usize {
        self.corrupt.iter().filter(|corrupt| **corrupt).count()
    }
}
