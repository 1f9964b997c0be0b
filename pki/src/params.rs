//! Parameters of a network: what every node and client does alike. They stand in the signed document and nowhere else.

use crate::effort::PUT_EFFORT_MAX;
use std::time::Duration;
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    profile::Profile,
};

/// The parameters of a network. Durations have microseconds on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params {
    /// Length of an epoch.
    pub epoch: Duration,
    /// How long an epoch's Sphinx key lives on after its epoch.
    pub key_grace: Duration,
    /// Length of a digest tick.
    pub tick: Duration,
    /// Length of a day, in which expiry is counted.
    pub day: Duration,
    /// Mean of the exponential delay at each hop.
    pub hop_delay: Duration,
    /// T0: every mailbox reply leaves this long after arrival, plus one more exponential hop delay. Above the 99.9th percentile
    /// of a write to W mailboxes: two waits for [`Params::peer_gap`] and two flushes.
    pub reply_floor: Duration,
    /// Mean gap of a client's send clock.
    pub send_gap: Duration,
    /// One send tick in this many is a Put slot.
    pub put_slot: u32,
    /// Mean gap of a client's get clock.
    pub get_gap: Duration,
    /// Mean gap of a client's loop clock.
    pub loop_gap: Duration,
    /// Mean gap of the entry's clock on each client's downlink.
    pub downlink_gap: Duration,
    /// The same while a connection is young.
    pub catch_up_gap: Duration,
    /// How long a connection is young.
    pub catch_up: Duration,
    /// How long entries keep raw digests.
    pub digest_history: Duration,
    /// Mean gap of the clock on a mailbox's link to each other mailbox. One box fits a frame: a network whose mailboxes take more
    /// than about a third of that from each other needs a shorter gap.
    pub peer_gap: Duration,
    /// Mean gap of the loop clock of every mix, entry and mailbox. A node's loops are its cover and its means to notice that packets
    /// are dropped.
    pub node_loop_gap: Duration,
    /// Means and periods that the document does not list (copies, absences, receipts, acks) are divided by this. 1 in a real
    /// network; test networks hurry.
    pub hurry: u32,
    /// The clocks of a client of the metered profile are slower by this factor; what that means for the downlink: see
    /// [`Params::rates`].
    pub metered: u32,
    /// K: mailboxes that hold a box.
    pub copies: u32,
    /// W: disks that a box must be on before `Stored`.
    pub durable_copies: u32,
    /// Districts in use.
    pub districts: u32,
    /// Least effort of the Put puzzle, 0 to [`crate::effort::PUT_EFFORT_MAX`]; 0: none while the mailboxes have room. What a document
    /// asks is [`crate::View::put_effort`].
    pub put_effort: u32,
    /// Days from the first send of a box to its expiry.
    pub box_days: u32,
    /// Epochs that a document may be used after its own, while no newer one is made.
    pub document_life: u32,
    /// Epochs between the announcement of another placement set and its coming into force.
    pub placement_notice: u32,
}

/// A downlink is at least so much faster than what comes back over it, whatever the profile.
const DOWNLINK_MIN: f64 = 1.2;

/// Longest that a chosen delay may be, in means: exceeded by an honest draw once in 10^13.
pub const MAX_DELAY_MEANS: u32 = 30;

const DURATIONS: [&str; 15] = [
    "epoch",
    "key_grace",
    "tick",
    "day",
    "hop_delay",
    "reply_floor",
    "send_gap",
    "get_gap",
    "loop_gap",
    "downlink_gap",
    "catch_up_gap",
    "catch_up",
    "digest_history",
    "peer_gap",
    "node_loop_gap",
];
const NUMBERS: [&str; 10] = [
    "put_slot",
    "hurry",
    "metered",
    "copies",
    "durable_copies",
    "districts",
    "put_effort",
    "box_days",
    "document_life",
    "placement_notice",
];

impl Params {
    /// The parameters of a real network.
    pub fn standard() -> Self {
        Self {
            epoch: Duration::from_secs(3_600),
            key_grace: Duration::from_secs(600),
            tick: Duration::from_secs(4),
            day: Duration::from_secs(86_400),
            hop_delay: Duration::from_millis(500),
            reply_floor: Duration::from_millis(1_500),
            send_gap: Duration::from_secs(2),
            put_slot: 4,
            get_gap: Duration::from_secs(3),
            loop_gap: Duration::from_secs(30),
            downlink_gap: Duration::from_millis(680),
            catch_up_gap: Duration::from_millis(125),
            catch_up: Duration::from_secs(900),
            digest_history: Duration::from_secs(86_400),
            peer_gap: Duration::from_millis(100),
            node_loop_gap: Duration::from_secs(1),
            hurry: 1,
            metered: 4,
            copies: 2,
            durable_copies: 2,
            districts: 1,
            put_effort: 0,
            box_days: 15,
            document_life: 24,
            placement_notice: 24,
        }
    }

    /// A network whose clocks run `times` faster, for tests. The mailbox's floor stays above two flushes of a slow disk.
    pub fn hurried(times: u32) -> Self {
        let times = times.max(1);
        let standard = Self::standard();
        Self {
            epoch: standard.epoch / times,
            key_grace: standard.key_grace / times,
            tick: standard.tick / times,
            day: standard.day / times,
            hop_delay: standard.hop_delay / times,
            reply_floor: (standard.reply_floor / times).max(Duration::from_millis(150)),
            send_gap: standard.send_gap / times,
            get_gap: standard.get_gap / times,
            loop_gap: standard.loop_gap / times,
            downlink_gap: standard.downlink_gap / times,
            catch_up_gap: standard.catch_up_gap / times,
            catch_up: standard.catch_up / times,
            digest_history: standard.digest_history / times,
            peer_gap: (standard.peer_gap / times).max(Duration::from_millis(10)),
            // All nodes of a test network share one machine.
            node_loop_gap: (standard.node_loop_gap / times).max(Duration::from_millis(500)),
            hurry: times,
            ..standard
        }
    }

    /// Divides a mean or period that the document does not list.
    pub fn hurry(&self, period: Duration) -> Duration {
        period / self.hurry.max(1)
    }

    /// The hours by which mailboxes cut the sets of a day: a 24th of it, and a tick at least.
    pub fn hour(&self) -> Duration {
        (self.day / 24).max(self.tick)
    }

    /// The longest delay that a hop admits.
    pub fn max_delay(&self) -> Duration {
        self.hop_delay.saturating_mul(MAX_DELAY_MEANS)
    }

    /// Appends the fields in the order of the struct.
    pub fn write(&self, writer: &mut Writer) {
        for duration in self.durations() {
            writer.u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
        for number in self.numbers() {
            writer.u32(number);
        }
    }

    /// Reads the fields and checks each against its range.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] with the name of the parameter that is out of range.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut duration = || reader.u64().map(Duration::from_micros);
        let mut params = Self {
            epoch: duration()?,
            key_grace: duration()?,
            tick: duration()?,
            day: duration()?,
            hop_delay: duration()?,
            reply_floor: duration()?,
            send_gap: duration()?,
            get_gap: duration()?,
            loop_gap: duration()?,
            downlink_gap: duration()?,
            catch_up_gap: duration()?,
            catch_up: duration()?,
            digest_history: duration()?,
            peer_gap: duration()?,
            node_loop_gap: duration()?,
            ..Self::standard()
        };
        params.put_slot = reader.u32()?;
        params.hurry = reader.u32()?;
        params.metered = reader.u32()?;
        params.copies = reader.u32()?;
        params.durable_copies = reader.u32()?;
        params.districts = reader.u32()?;
        params.put_effort = reader.u32()?;
        params.box_days = reader.u32()?;
        params.document_life = reader.u32()?;
        params.placement_notice = reader.u32()?;
        params.check()?;
        Ok(params)
    }

    fn durations(&self) -> [Duration; 15] {
        [
            self.epoch,
            self.key_grace,
            self.tick,
            self.day,
            self.hop_delay,
            self.reply_floor,
            self.send_gap,
            self.get_gap,
            self.loop_gap,
            self.downlink_gap,
            self.catch_up_gap,
            self.catch_up,
            self.digest_history,
            self.peer_gap,
            self.node_loop_gap,
        ]
    }

    fn numbers(&self) -> [u32; 10] {
        [
            self.put_slot,
            self.hurry,
            self.metered,
            self.copies,
            self.durable_copies,
            self.districts,
            self.put_effort,
            self.box_days,
            self.document_life,
            self.placement_notice,
        ]
    }

    /// Every parameter with its name, in the order of the struct; durations in microseconds. What authorities vote on one by one.
    pub fn values(&self) -> Vec<(&'static str, u64)> {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let durations = DURATIONS.into_iter().zip(self.durations().map(micros));
        durations.chain(NUMBERS.into_iter().zip(self.numbers().map(u64::from))).collect()
    }

    /// From such a list.
    ///
    /// # Errors
    /// [`DecodeError`] if the list is too short, or a parameter out of range.
    pub fn from_values(values: &[(&'static str, u64)]) -> Result<Self> {
        let mut writer = Writer::with_capacity(256);
        for (at, (name, value)) in values.iter().enumerate() {
            if at < DURATIONS.len() {
                writer.u64(*value);
            } else {
                writer.u32(u32::try_from(*value).map_err(|_| DecodeError::Invalid(name))?);
            }
        }
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let params = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(params)
    }

    /// Checks every parameter against its range.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] with the name of the parameter that is out of range.
    pub fn check(&self) -> Result<()> {
        const MS: Duration = Duration::from_millis(1);
        const HOUR: Duration = Duration::from_secs(3_600);
        let year = 366 * 24 * HOUR;
        // A tick of half a second is numbered by a u32 until 2038; shorter ones would run out of numbers sooner.
        let durations = [
            ("epoch", self.epoch, 100 * MS, year),
            ("key_grace", self.key_grace, 100 * MS, year),
            ("tick", self.tick, 500 * MS, HOUR),
            ("day", self.day, 1_000 * MS, 24 * HOUR),
            ("hop_delay", self.hop_delay, MS, HOUR),
            ("reply_floor", self.reply_floor, MS, HOUR),
            ("send_gap", self.send_gap, 20 * MS, HOUR),
            ("get_gap", self.get_gap, 20 * MS, HOUR),
            ("loop_gap", self.loop_gap, 20 * MS, HOUR),
            ("downlink_gap", self.downlink_gap, 5 * MS, HOUR),
            ("catch_up_gap", self.catch_up_gap, 5 * MS, HOUR),
            ("catch_up", self.catch_up, Duration::ZERO, 24 * HOUR),
            ("digest_history", self.digest_history, 1_000 * MS, 48 * HOUR),
            ("peer_gap", self.peer_gap, MS, HOUR),
            ("node_loop_gap", self.node_loop_gap, 20 * MS, HOUR),
        ];
        let numbers = [
            ("put_slot", self.put_slot, 1, 64),
            ("hurry", self.hurry, 1, 1_000),
            ("metered", self.metered, 1, 16),
            ("copies", self.copies, 1, 4),
            // An answer has room for two holders.
            ("durable_copies", self.durable_copies, 1, self.copies.min(2)),
            ("districts", self.districts, 1, 1),
            ("put_effort", self.put_effort, 0, PUT_EFFORT_MAX),
            ("box_days", self.box_days, 1, 60),
            ("document_life", self.document_life, 1, 720),
            ("placement_notice", self.placement_notice, 1, 720),
        ];
        let out = durations.iter().find(|(_, value, low, high)| value < low || value > high).map(|(name, ..)| *name);
        let out =
            out.or(numbers.iter().find(|(_, value, low, high)| value < low || value > high).map(|(name, ..)| *name));
        if let Some(name) = out {
            return Err(DecodeError::Invalid(name));
        }
        // A downlink slower than what comes back would be a queue at load one.
        for rates in Profile::ALL.map(|profile| self.rates(profile)) {
            if rates.down() < DOWNLINK_MIN * rates.up() {
                return Err(DecodeError::Invalid("downlink_gap"));
            }
        }
        Ok(())
    }
}

/// True if [`Params::values`] holds this parameter as a duration, in microseconds.
pub fn is_duration(name: &str) -> bool {
    DURATIONS.contains(&name)
}
