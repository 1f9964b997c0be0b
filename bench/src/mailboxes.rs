//! Mailboxes that hold boxes together: the engines on real disks, between them links that are as slow as their clocks and take
//! [`LATENCY`] more. Time is virtual, and a mailbox that works is busy for as long as its work really took, so each has a core and a
//! disk of its own however few this machine has. Public-key work is the workers': it is done, and not counted.

use crate::Result;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use veilpost_mailbox::{
    engine::{Arrived, Back, FromPeer, Limits, Mailbox, Request, Terms},
    stores::{self, DiskStore, EngineName},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTerms, ContentHash, SealedBox, StreamRoot},
    command::{Answer, HolderSignature, Reply},
    frame::Frame,
    geometry::SURB,
    ids::{BoxId, District, DocumentHash, NetworkId, NodeId},
    peer::{PeerBody, PeerItem},
    primitives::{Secret32, SigningSecret},
    random::{EngineRng, exponential, fork, pick, seeded},
    sphinx::Surb,
    time::{Day, Epoch, Timestamp},
};
use veilpost_pki::{Params, topology};

/// From one mailbox to another, beside the clock of their link.
pub const LATENCY: Duration = Duration::from_millis(10);
const NETWORK: NetworkId = NetworkId([1; 32]);
const DOCUMENT: DocumentHash = DocumentHash([2; 8]);
/// Noon of day 20,000.
const START: Timestamp = Timestamp::from_secs(20_000 * 86_400 + 43_200);

/// A box and its content's hash, which a worker found.
pub type Mail = (SealedBox, ContentHash);

/// So many boxes with good signatures.
///
/// # Errors
/// If one cannot be sealed.
pub fn seal(count: usize) -> Result<Vec<Mail>> {
    let params = Params::standard();
    let expiry = Day::at(START, params.day).plus(params.box_days);
    let terms = BoxTerms { district: District(0), class: BoxClass::Solo, expiry };
    let mut writer = StreamRoot::new(*Secret32::new([9; 32]).expose()).write_cap();
    (0..count)
        .map(|_| {
            let sealed = writer.seal_next(&NETWORK, terms, &[7; 3_000])?;
            let content = sealed.content_hash(&NETWORK);
            Ok((sealed, content))
        })
        .collect()
}

struct Node {
    id: NodeId,
    secret: SigningSecret,
    engine: Mailbox<DiskStore>,
    busy_until: Timestamp,
    commands: Vec<Arrived>,
    items: Vec<(NodeId, FromPeer)>,
}

enum Event {
    Command(u64, Request),
    Frame(NodeId, Frame),
}

/// What came of the Puts and Gets of a run.
#[derive(Debug, Default)]
pub struct Seen {
    /// From a Put's arrival until W disks have its box, in ms.
    pub durable: Vec<f64>,
    /// From a Get's arrival until its answer is known, in us.
    pub read: Vec<f64>,
    /// Answers to Puts that named W holders.
    pub stored: u64,
    /// Those that did not: they were asked again.
    pub pending: u64,
    /// Any other answer: none is expected.
    pub others: u64,
}

/// Several mailboxes.
pub struct Mailboxes {
    nodes: Vec<Node>,
    rng: EngineRng,
    params: Params,
    placement: Vec<NodeId>,
    durable_copies: usize,
    now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), (usize, Event)>,
    sequence: u64,
    /// Puts that wait for their second disk, by box: whom they came to, and when.
    waiting: BTreeMap<BoxId, (usize, Timestamp)>,
    seen: Seen,
    /// Boxes that crossed a link.
    pub copies: u64,
    /// Frames that crossed links.
    pub frames: u64,
}

impl Mailboxes {
    /// So many mailboxes on empty stores, whose links send a frame each `gap` on average.
    ///
    /// # Errors
    /// If a store cannot be made.
    pub fn new(count: u8, engine: EngineName, gap: Duration, folder: &Path) -> Result<Self> {
        let copies = u32::from(count.min(2));
        let params = Params { peer_gap: gap, copies, durable_copies: copies, ..Params::standard() };
        let secret = |number: u8| SigningSecret::from_seed(&[number + 1; 32]);
        let placement: Vec<_> = (0..count).map(|number| secret(number).node_id()).collect();
        let mut all = Self {
            nodes: Vec::new(),
            rng: seeded([5; 32]),
            params,
            placement,
            durable_copies: copies as usize,
            now: START,
            queue: BTreeMap::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            seen: Seen::default(),
            copies: 0,
            frames: 0,
        };
        let limits = Limits { quota_bytes: 1 << 40, bucket_bytes: 1 << 40, free_disk_floor: 0 };
        for number in 0..count {
            let store = stores::open(engine, &folder.join(number.to_string()))?;
            let (terms, rng) = (all.terms(), fork(&mut all.rng));
            let engine = Mailbox::new(START, secret(number), terms, limits, store, rng)?;
            let id = secret(number).node_id();
            let (commands, items) = (Vec::new(), Vec::new());
            all.nodes.push(Node { id, secret: secret(number), engine, busy_until: START, commands, items });
        }
        let ids = all.placement.clone();
        for node in &mut all.nodes {
            for other in ids.iter().filter(|other| **other != node.id) {
                node.engine.handle_peer_link(START, other, true);
                node.engine.handle_peer_arrival(START, other);
            }
        }
        Ok(all)
    }

    fn terms(&self) -> Terms {
        Terms {
            network: NETWORK,
            document: DOCUMENT,
            params: self.params.clone(),
            placement: self.placement.clone(),
            copies: self.durable_copies,
            durable_copies: self.durable_copies,
            listed: self.nodes.iter().map(|node| node.id).chain(self.placement.iter().copied()).collect(),
        }
    }

    /// Another document: without the last mailbox in the placement set if `leaves`, and with another clock of the links.
    pub fn publish(&mut self, gap: Duration, leaves: bool) {
        self.params.peer_gap = gap;
        if leaves {
            self.placement.pop();
        }
        let (now, terms) = (self.now, self.terms());
        self.nodes.iter_mut().for_each(|node| node.engine.set_terms(now, terms.clone()));
    }

    /// Sends Puts of these boxes at `rate` a second, each to one of its holders, and a Get of each some seconds later if `read`.
    ///
    /// # Errors
    /// If an engine's batch fails.
    pub fn put(&mut self, mails: &[Mail], rate: f64, read: bool) -> Result<Seen> {
        let (mut at, gap) = (self.now + Duration::from_secs(1), Duration::from_secs_f64(1.0 / rate));
        for (number, (sealed, content)) in (0..).zip(mails) {
            at = at + exponential(&mut self.rng, gap);
            let holders: Vec<_> = topology::placed(&self.placement, &sealed.id);
            let to = *pick(&mut self.rng, holders.get(..self.durable_copies).unwrap_or_default()).ok_or("no holder")?;
            let to = self.number(&to)?;
            let secret = &self.nodes.get(to).ok_or("no such mailbox")?.secret;
            let own = HolderSignature::sign(secret, &NETWORK, &sealed.id, content, sealed.expiry);
            self.push(at, to, Event::Command(number, Request::Put(Box::new(sealed.clone()), *content, own)));
            if read {
                let later = at + Duration::from_secs(10);
                self.push(later, to, Event::Command(number, Request::Get(sealed.id, District(0))));
            }
        }
        self.run(at + Duration::from_secs(15), |_| false)?;
        Ok(std::mem::take(&mut self.seen))
    }

    /// Runs until every mailbox has gone through its boxes, and who left the placement set has handed over all; `limit` at most.
    /// How long that took.
    ///
    /// # Errors
    /// If it did not come to an end.
    pub fn settle(&mut self, limit: Duration) -> Result<Duration> {
        let from = self.now;
        let done = self.run(from + limit, |all| {
            let quiet = |node: &Node| {
                let progress = node.engine.sweep_progress();
                !progress.running && progress.missing == 0
            };
            let in_place = |node: &Node| all.placement.contains(&node.id) || node.engine.usage().boxes == 0;
            all.nodes.iter().all(|node| quiet(node) && in_place(node))
        })?;
        if done { Ok(self.now.since(from)) } else { Err("boxes are not in their places after the limit".into()) }
    }

    /// Boxes and tombstones of each mailbox.
    pub fn held(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.engine.usage().boxes).collect()
    }

    fn number(&self, id: &NodeId) -> Result<usize> {
        Ok(self.nodes.iter().position(|node| node.id == *id).ok_or("a mailbox that nobody knows")?)
    }

    fn push(&mut self, at: Timestamp, to: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (to, event));
    }

    fn run(&mut self, until: Timestamp, done: impl Fn(&Self) -> bool) -> Result<bool> {
        while self.now < until {
            if done(self) {
                return Ok(true);
            }
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.nodes.iter().map(|node| {
                let waits = !(node.commands.is_empty() && node.items.is_empty());
                let wake = node.engine.next_wake().min(node.engine.next_digest());
                let wake = if waits { node.busy_until } else { wake };
                wake.max(node.busy_until)
            });
            let next = wakes.chain(arrival).fold(until, Timestamp::min);
            self.now = next.max(self.now + Duration::from_nanos(1));
            self.deliver()?;
            for number in 0..self.nodes.len() {
                self.poll(number)?;
            }
        }
        Ok(done(self))
    }

    fn deliver(&mut self) -> Result<()> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let ((at, _), (to, event)) = entry.remove_entry();
            let node = self.nodes.get_mut(to).ok_or("no such mailbox")?;
            match event {
                Event::Command(number, request) => {
                    if let Request::Put(sealed, ..) = &request {
                        self.waiting.insert(sealed.id, (to, at));
                    }
                    let surb = surb(number, at)?;
                    node.commands.push(Arrived {
                        at,
                        epoch: Epoch(7),
                        document: DOCUMENT,
                        back: Back::Surb(surb),
                        request,
                    });
                }
                Event::Frame(from, frame) => {
                    node.engine.handle_peer_heard(at, &from);
                    for item in PeerBody::decode(frame.body())? {
                        self.copies += u64::from(matches!(item, PeerItem::Copy(_)));
                        node.items.push((from, FromPeer::check(item, &NETWORK, from)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets a mailbox work, if it is not busy.
    fn poll(&mut self, number: usize) -> Result<()> {
        let now = self.now;
        let node = self.nodes.get_mut(number).ok_or("no such mailbox")?;
        if node.busy_until > now {
            return Ok(());
        }
        let (commands, items) = (std::mem::take(&mut node.commands), std::mem::take(&mut node.items));
        let reads: Vec<_> =
            commands.iter().filter(|arrived| matches!(arrived.request, Request::Get(..))).map(|one| one.at).collect();
        let puts = commands.iter().filter_map(|arrived| match &arrived.request {
            Request::Put(sealed, ..) => Some(sealed.id),
            _ => None,
        });
        // What makes a Put durable: our own disk if one is enough, else the word of the second.
        let confirmed: Vec<_> = if self.durable_copies == 1 {
            puts.collect()
        } else {
            let words = items.iter().filter_map(|(_, item)| match item {
                FromPeer::Holds { id, .. } => Some(*id),
                _ => None,
            });
            words.collect()
        };
        let started = Instant::now();
        if !(commands.is_empty() && items.is_empty()) {
            node.engine.handle(now, commands, items);
        }
        node.engine.poll_sweep(now)?;
        while node.engine.poll_digest(now)?.is_some() {}
        let frames: Vec<_> = std::iter::from_fn(|| node.engine.poll_peer_frame(now)).collect();
        let replies: Vec<_> = std::iter::from_fn(|| node.engine.poll_reply(now)).collect();
        node.busy_until = now + started.elapsed();
        let (ready, id) = (node.busy_until, node.id);
        let ms = |since: Timestamp| ready.since(since).as_secs_f64() * 1e3;
        self.seen.read.extend(reads.into_iter().map(|at| ms(at) * 1e3));
        for confirmed in confirmed {
            if let Some((_, at)) = self.waiting.get(&confirmed).filter(|(origin, _)| *origin == number) {
                self.seen.durable.push(ms(*at));
                self.waiting.remove(&confirmed);
            }
        }
        for (_, _, reply) in replies {
            match Reply::decode(&reply)?.answer {
                Answer::Stored(_) => self.seen.stored += 1,
                Answer::Pending => self.seen.pending += 1,
                Answer::Found(_) => {}
                _ => self.seen.others += 1,
            }
        }
        for (to, frame) in frames {
            self.frames += 1;
            let to = self.number(&to)?;
            self.push(ready + LATENCY, to, Event::Frame(id, frame));
        }
        Ok(())
    }
}

/// The engine never looks inside.
fn surb(number: u64, at: Timestamp) -> Result<Surb> {
    let mut bytes = [1; SURB];
    let name = number.to_be_bytes().into_iter().chain(at.as_millis().to_be_bytes());
    bytes.iter_mut().zip(name).for_each(|(place, byte)| *place = byte);
    Ok(Surb::from_bytes(&bytes)?)
}
