//! `bench-catchup`: what a client downloads after an absence, and how long that takes, in virtual time.
//!
//! Tags are drawn at random, as box tags are; sets and digests are signed, coded, cut into frames, sent by the entry's downlink,
//! joined, checked and tracked by the code that does so in a network. What is modelled is how many boxes are still held: every
//! client puts a box in each Put slot, whether people write or not, and of these boxes one in 16 is never acknowledged, one in 16 is
//! read after an absence that is log-uniform from 10 minutes to 10 days, and the others are read at once; an acknowledgement
//! leaves after 30 minutes on average. Prints a Markdown table, and how much of the downlink the live digests take: where that is all
//! of it, nobody catches up, however short the absence.
#![allow(clippy::print_stdout, reason = "a program that measures and prints")]

use clap::Parser;
use rand::Rng;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use veilpost_bench::Result;
use veilpost_client::{arq::Pace, sets::SetTracker};
use veilpost_mixnode::{Limits, entry::Downlink};
use veilpost_packet::{
    boxes::BoxTag,
    digest::{Digest, DigestHash, SignedDigest},
    frame::{FrameKind, RecordJoiner, Wanted},
    geometry::{DIGEST_MAX, FRAME, FRAME_BODY, SET_MAX},
    ids::{District, DocumentHash, NetworkId, NodeId},
    primitives::SigningSecret,
    profile::Profile,
    random::{EngineRng, exponential, fork, seeded},
    set::{Period, SetHead, SignedSet},
    time::{Tick, Timestamp},
};
use veilpost_pki::Params;

/// Measures what an absence costs.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Clients of the network
    #[arg(long, default_values_t = [1_000, 10_000])]
    clients: Vec<u64>,
    /// Mailboxes of the network
    #[arg(long, default_value_t = 3)]
    mailboxes: u8,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u8,
}

/// Half past six in the morning of some day.
const NOW: Timestamp = Timestamp::from_secs(20_000 * 86_400 + 6 * 3_600 + 1_800);
const HOUR: f64 = 3_600.0;
/// What is not here by then is given up.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);

/// Of boxes named so many seconds ago, the part that is still held.
fn held(age: f64) -> f64 {
    let absent = 1.0 - (age.max(600.0) / 600.0).ln() / 1_440f64.ln();
    (14.0 * (-age / 1_800.0).exp() + absent.max(0.0) + 1.0) / 16.0
}

/// The part of a period's boxes that is still held; `from` and `to`: its ends' ages in seconds.
fn held_of(from: f64, to: f64) -> f64 {
    let steps = 100;
    let ages = (0..steps).map(|step| to + (from - to) * (f64::from(step) + 0.5) / f64::from(steps));
    ages.map(|age| held(age.max(0.0))).sum::<f64>() / f64::from(steps)
}

struct Network {
    params: Params,
    mailboxes: u8,
    /// Boxes a second at each mailbox that it names.
    rate: f64,
    secret: SigningSecret,
    rng: EngineRng,
    sets: BTreeMap<Period, Vec<Arc<[u8]>>>,
}

impl Network {
    fn tags(&mut self, count: f64) -> Vec<BoxTag> {
        (0..count as u64).map(|_| BoxTag(self.rng.random())).collect()
    }

    /// A set as each of the mailboxes makes it: all are as big, so one is made for all.
    fn set(&mut self, period: Period) -> Vec<Arc<[u8]>> {
        if let Some(made) = self.sets.get(&period) {
            return made.clone();
        }
        let (now, length) = (NOW.as_secs() as f64, if matches!(period, Period::Hour(_)) { HOUR } else { 24.0 * HOUR });
        let start = f64::from(period.number()) * length;
        // Days are made at midnight, hours every hour.
        let made = now - now % length;
        let (from, to) = ((made - start).max(0.0), (made - start - length).max(0.0));
        let tags = self.tags((from - to) * self.rate * held_of(from, to));
        let (network, document) = (NetworkId([1; 32]), DocumentHash([2; 8]));
        let mailbox = self.secret.node_id();
        let head = SetHead { network, document, mailbox, district: District(0), period, made: Tick(1) };
        let parts: Vec<Arc<[u8]>> = head.sign(tags, &self.secret).iter().map(|set| set.as_bytes().into()).collect();
        self.sets.insert(period, parts.clone());
        parts
    }

    fn digest(&mut self, tick: Tick) -> Arc<[u8]> {
        let tags = self.tags(self.rate * self.params.tick.as_secs_f64());
        let (network, document, mailbox) = (NetworkId([1; 32]), DocumentHash([2; 8]), self.secret.node_id());
        let previous = DigestHash::default();
        let digest = Digest { network, document, mailbox, district: District(0), tick, previous, tags };
        digest.sign(&self.secret).as_bytes().into()
    }
}

struct Cost {
    bytes: u64,
    frames: u64,
    time: Option<Duration>,
}

/// A client that comes back after an absence, and its entry.
struct Return {
    downlink: Downlink,
    tracker: SetTracker,
    /// Ticks of each mailbox's digests that were missed and have not come.
    missed: u64,
    digests: RecordJoiner,
    sets: RecordJoiner,
}

impl Return {
    fn ask(&mut self, network: &mut Network, now: Timestamp, hourly: &mut Vec<u32>) {
        let room = Limits::default().stream;
        // The digests of an absence of an hour, a mailbox with each Want.
        if let Some(ticks) = hourly.pop() {
            let newest = Tick::at(NOW, network.params.tick).0;
            for tick in newest - ticks..newest {
                self.downlink.push_digest(network.digest(Tick(tick)), room);
            }
            return;
        }
        let params = network.params.clone();
        let Some(want) = self.tracker.next_want(now, &params) else { return };
        let make = if want.what == Wanted::Hours { Period::Hour } else { Period::Day };
        for number in (want.first..want.end()).rev() {
            for part in network.set(make(number)) {
                // The mailbox's id is the one thing in which the sets of mailboxes differ here.
                let mut marked = part.to_vec();
                marked.extend(want.mailbox.0);
                if !self.downlink.push_set(marked.into(), room) {
                    return;
                }
            }
        }
    }

    /// Takes a frame; true if it was of the catching up.
    fn take(&mut self, frame: &veilpost_packet::frame::Frame, now: Timestamp) -> Result<bool> {
        match frame.kind() {
            FrameKind::Set => {
                for record in self.sets.push(frame.body())? {
                    let (bytes, mailbox) = record.split_last_chunk::<32>().ok_or("a record without a mailbox")?;
                    let mut part = SignedSet::verify(bytes)?.into_part();
                    part.head.mailbox = NodeId(*mailbox);
                    self.tracker.handle(now, &part, Pace(1));
                }
                Ok(true)
            }
            FrameKind::Digest => {
                for record in self.digests.push(frame.body())? {
                    let old = SignedDigest::verify(&record)?.digest().tick < Tick::at(NOW, Duration::from_secs(4));
                    self.missed = self.missed.saturating_sub(u64::from(old));
                }
                Ok(self.missed > 0)
            }
            _ => Ok(false),
        }
    }
}

fn come_back(network: &mut Network, away: Duration) -> Result<Cost> {
    let params = network.params.clone();
    let mut rng = fork(&mut network.rng);
    let mut back = Return {
        downlink: Downlink::new(NOW, &params, Profile::Standard, fork(&mut rng)),
        tracker: SetTracker::default(),
        missed: 0,
        digests: RecordJoiner::new(DIGEST_MAX),
        sets: RecordJoiner::new(SET_MAX + 32),
    };
    let mut by_digests = Vec::new();
    // Who was away for long asks for the digests of the hour that is not over, and for sets of what was before.
    let long = away > params.digest_history;
    let by_tick = if long { Duration::from_secs(NOW.as_secs() % params.hour().as_secs()) } else { away };
    let ticks = (by_tick.as_secs() / params.tick.as_secs()) as u32;
    for mailbox in 0..network.mailboxes {
        by_digests.push(ticks);
        back.missed += u64::from(ticks);
        if long {
            back.tracker.begin(NOW, NodeId([mailbox; 32]), NOW - away, &params);
        }
    }
    let (mut cost, mut ask_at) =
        (Cost { bytes: 0, frames: 0, time: None }, NOW + exponential(&mut rng, params.loop_gap));
    let mut live = Tick::at(NOW, params.tick).next();
    while back.downlink.next() < NOW + PATIENCE {
        let now = back.downlink.next();
        while ask_at <= now {
            back.ask(network, ask_at, &mut by_digests);
            ask_at = ask_at + exponential(&mut rng, params.loop_gap);
        }
        while live.start(params.tick) <= now {
            for _ in 0..network.mailboxes {
                back.downlink.push_digest(network.digest(live), Limits::default().stream);
            }
            live = live.next();
        }
        let frame = back.downlink.tick(now, &params);
        if back.take(&frame, now)? {
            cost.frames += 1;
        }
        // The set of the hour that is not over is not waited for: its digests are here.
        let later = if away > params.digest_history { usize::from(network.mailboxes) } else { 0 };
        if back.missed == 0 && by_digests.is_empty() && back.tracker.wanted() == later {
            cost.time = Some(now.since(NOW));
            break;
        }
    }
    cost.bytes = cost.frames * FRAME as u64;
    Ok(cost)
}

/// Frames a second that the digests of all mailboxes fill at least.
fn live_frames(network: &mut Network) -> f64 {
    let record = network.digest(Tick::at(NOW, network.params.tick)).len() + 4;
    // A frame's body begins with the length of its piece.
    let piece = FRAME_BODY - 2;
    (record * usize::from(network.mailboxes)) as f64 / piece as f64 / network.params.tick.as_secs_f64()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let params = Params::standard();
    let downlink = 1.0 / params.downlink_gap.as_secs_f64();
    let mut live = Vec::new();
    println!("| clients | away | frames | MB | time at default rates |\n|---|---|---|---|---|");
    for clients in arguments.clients {
        let puts = 1.0 / (params.send_gap.as_secs_f64() * f64::from(params.put_slot));
        let mut network = Network {
            rate: puts * clients as f64 / f64::from(arguments.mailboxes),
            params: params.clone(),
            mailboxes: arguments.mailboxes,
            secret: SigningSecret::from_seed(&[7; 32]),
            rng: seeded([arguments.seed; 32]),
            sets: BTreeMap::new(),
        };
        for (name, hours) in [("1 h", 1), ("2 days", 48), ("13 days", 13 * 24)] {
            let cost = come_back(&mut network, params.hour() * hours)?;
            let time =
                cost.time.map_or("more than a week".into(), |time| format!("{:.1} min", time.as_secs_f64() / 60.0));
            println!("| {clients} | {name} | {} | {:.1} | {time} |", cost.frames, cost.bytes as f64 / 1e6);
        }
        live.push((clients, live_frames(&mut network)));
    }
    println!();
    for (clients, frames) in live {
        let enough =
            if frames < downlink { "" } else { ": more than there are, so clients fall behind without any absence" };
        println!(
            "With {clients} clients live digests take at least {frames:.2} frames a second of the {downlink:.2} of a downlink{enough}."
        );
    }
    Ok(())
}
