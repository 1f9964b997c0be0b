//! What a population is made of, and what is refused.

use crate::impossible::Impossible;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::{geometry, profile::Profile, time::Timestamp};
use veilpost_pki::{Params, Rates};

/// Clients at most: what 4 GB hold for an hour, and some.
const CLIENTS_MAX: usize = 50_000;
/// Bytes of a file that one box holds: its plaintext without the length.
pub const PIECE: usize = geometry::BOX_PLAINTEXT - 2;
/// Boxes of a file at most: a longer one waits for its reader's reports (`client::core::writing`), which is not modelled.
const PIECES_MAX: usize = 256;
/// A downlink is to be so much faster than all that comes over it (DESIGN 6).
const DOWNLINK_SPARE: f64 = 1.25;

/// Refuses unless `holds`.
///
/// # Errors
/// [`Impossible`] with these words.
pub fn require(holds: bool, otherwise: &str) -> Result<(), Impossible> {
    if holds { Ok(()) } else { Err(Impossible(otherwise.into())) }
}

/// How readers find boxes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Only what a digest named is asked for: what ships.
    #[default]
    Digests,
    /// The next box of each contact is asked for again and again until it is there.
    Polls,
}

/// What Put slots carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoys {
    /// A real box takes the place of a decoy: what ships.
    #[default]
    Replaced,
    /// Every slot carries a decoy; real boxes leave at once, on top of it.
    Additive,
    /// There are none: a slot without a real box is like any other tick.
    None,
}

/// When receipts leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipts {
    /// On the next message, or after Exp(2 min): what ships.
    #[default]
    Queued,
    /// As soon as a message is read.
    Immediate,
}

/// When a box is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// 2 + G times whatever is answered: what ships.
    #[default]
    Planned,
    /// Only until it is answered.
    OnLoss,
}

/// The design of the client; the default is what ships, the others are weaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Design {
    /// How readers find boxes.
    pub reading: Reading,
    /// What Put slots carry.
    pub decoys: Decoys,
    /// A tick that has nothing to send sends a Loop; without cover it sends nothing.
    pub cover: bool,
    /// When receipts leave.
    pub receipts: Receipts,
    /// One decoy in 16 is read late.
    pub absences: bool,
    /// When a box is sent again.
    pub copies: Copies,
    /// For each real box that is read one decoy is read late, as by somebody who is away.
    pub reads_replace: bool,
}

impl Default for Design {
    fn default() -> Self {
        Self {
            reading: Reading::default(),
            decoys: Decoys::default(),
            cover: true,
            receipts: Receipts::default(),
            absences: true,
            copies: Copies::default(),
            reads_replace: true,
        }
    }
}

/// What people do.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    /// Contacts of each person, drawn once.
    pub contacts: usize,
    /// Share of contacts that are drawn from the person's own circle of friends rather than from everyone.
    pub circle: f64,
    /// Share of people who write of their own accord.
    pub active: f64,
    /// Conversations that an active person begins in an hour of being online.
    pub conversations: f64,
    /// Mean number of answers that follow in a conversation.
    pub turns: f64,
    /// Mean number of texts that one says in a row.
    pub burst: f64,
    /// Mean seconds between the texts of a row.
    pub typing: f64,
    /// Mean seconds from reading to answering.
    pub thinking: f64,
    /// Files that an active person sends in an hour of being online.
    pub files: f64,
    /// Bytes of a file.
    pub file_bytes: usize,
    /// Mean minutes that a client is online; 0: always.
    pub online: f64,
    /// Mean minutes that a client is offline.
    pub offline: f64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            contacts: 5,
            circle: 0.6,
            active: 0.5,
            conversations: 2.0,
            turns: 6.0,
            burst: 1.6,
            typing: 8.0,
            thinking: 40.0,
            files: 0.0,
            file_bytes: 300 << 10,
            online: 0.0,
            offline: 0.0,
        }
    }
}

impl Habits {
    /// People who do nothing.
    pub fn idle() -> Self {
        Self { active: 0.0, ..Self::default() }
    }

    /// Boxes of one file.
    pub fn pieces(&self) -> usize {
        self.file_bytes.div_ceil(PIECE)
    }

    fn check(&self, clients: usize) -> Result<(), Impossible> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let amount = |value: f64| value.is_finite() && value >= 0.0;
        require(self.contacts >= 1, "everybody needs a contact")?;
        require(self.contacts < clients, "there are not as many people as each has contacts")?;
        require(share(self.circle), "the share of contacts from one's circle must lie between 0 and 1")?;
        require(share(self.active), "the share of active people must lie between 0 and 1")?;
        let counts = [self.conversations, self.turns, self.files];
        require(
            counts.iter().all(|count| amount(*count)),
            "rates of conversations, turns and files cannot be negative",
        )?;
        require(self.burst.is_finite() && self.burst >= 1.0, "who says something says at least one text")?;
        let times = [self.typing, self.thinking];
        require(times.iter().all(|time| amount(*time) && *time > 0.0), "typing and thinking take some time")?;
        require(
            self.pieces() <= PIECES_MAX && self.file_bytes > 0,
            "a file has at least 1 byte and at most 256 boxes",
        )?;
        require(amount(self.online) && amount(self.offline), "times online and offline cannot be negative")?;
        require(self.online > 0.0 || self.offline == 0.0, "who is never online cannot be simulated")
    }
}

/// A population.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    /// Everything follows from it.
    pub seed: u64,
    /// Clients, all of the standard profile.
    pub clients: usize,
    /// Mailboxes.
    pub mailboxes: usize,
    /// How long the population lives before the watch begins.
    pub warm_up: Duration,
    /// The watch.
    pub watch: Duration,
    /// Probability that a command or an answer is lost on its way.
    pub loss: f64,
    /// Latency of a link.
    pub latency: Duration,
    /// What people do.
    pub habits: Habits,
    /// What their clients do.
    pub design: Design,
    /// The network's parameters.
    pub params: Params,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            clients: 100,
            mailboxes: 3,
            warm_up: Duration::from_secs(900),
            watch: Duration::from_secs(3_600),
            loss: 0.0,
            latency: Duration::from_millis(20),
            habits: Habits::default(),
            design: Design::default(),
            params: Params::standard(),
        }
    }
}

impl Setup {
    /// Refuses what cannot be simulated.
    ///
    /// # Errors
    /// [`Impossible`] says what and why.
    pub fn check(&self) -> Result<(), Impossible> {
        require((2..=CLIENTS_MAX).contains(&self.clients), "from 2 to 50,000 clients can be simulated")?;
        require((2..=200).contains(&self.mailboxes), "a box is on two mailboxes: from 2 to 200 are needed")?;
        require((0.0..1.0).contains(&self.loss), "the share of lost packets must lie between 0 and 1")?;
        require(!self.watch.is_zero(), "nothing is seen in no time")?;
        require(self.watch.as_secs() <= 86_400, "a watch takes a day at most")?;
        require(self.warm_up.as_secs() <= 10 * 86_400, "a population lives for ten days at most before it is watched")?;
        require(self.latency.as_secs() < 60, "a link's latency is below a minute")?;
        self.params.check().map_err(|error| Impossible(format!("the network's parameters are impossible: {error}")))?;
        self.habits.check(self.clients)
    }

    /// Clocks of the clients and of their downlinks. Digests are the same bytes for everyone and grow with the number of clients: where
    /// the document's downlink is too slow for them it is made as fast as the design asks.
    pub fn rates(&self) -> Rates {
        let rates = self.params.rates(Profile::Standard);
        let needed = DOWNLINK_SPARE * (rates.up() + self.digest_frames() / self.params.tick.as_secs_f64());
        let downlink_gap = rates.downlink_gap.min(Duration::from_secs_f64(1.0 / needed));
        Rates { downlink_gap, catch_up_gap: rates.catch_up_gap.min(downlink_gap), ..rates }
    }

    /// Frames that the digests of one tick take: at least one.
    pub fn digest_frames(&self) -> f64 {
        let rates = self.params.rates(Profile::Standard);
        let tags = self.clients as f64 * self.params.tick.as_secs_f64() / rates.put_gap().as_secs_f64();
        let bytes = (self.mailboxes * geometry::DIGEST_FIXED) as f64 + tags * geometry::DIGEST_TAG as f64;
        (bytes / geometry::FRAME_BODY as f64).max(1.0)
    }

    /// When the watch begins: simulated time begins well after zero, as times before now are looked at.
    pub(super) fn watch_from(&self) -> Timestamp {
        BEGIN + self.warm_up
    }
}

/// When a population begins to live.
pub(super) const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
