//! Several mailboxes in virtual time: the real engines over stores in memory, links with latency, and everything that can go wrong
//! between and under them. Writers and readers are as simple as they can be: they send again until they have an answer.
//!
//! What is simplified: public-key work is done once for each box and remembered, since the engines are fed its results anyway.

use rand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use veilpost_mailbox::{
    engine::{Arrived, Back, FromPeer, Limits, Mailbox, Request, Terms},
    memory::MemoryStore,
    store::{
        BoxStore, Change, Confirmation, Cursor, Held, Result, Series, StoreError, StoreId, Usage, Waiting, Walked,
    },
};
use veilpost_packet::{
    boxes::{ContentHash, SealedBox},
    command::{Answer, HolderSignature, Reply},
    digest::SignedDigest,
    frame::Frame,
    ids::{BoxId, District, DocumentHash, NetworkId, NodeId},
    peer::{Copy, PeerBody, PeerItem},
    primitives::{Secret32, SigningSecret},
    random::{EngineRng, exponential, fork, seeded},
    sphinx::Surb,
    time::{Day, Epoch, Timestamp},
};
use veilpost_pki::{Params, topology};

pub(crate) const NETWORK: NetworkId = NetworkId([1; 32]);
const DOCUMENT: DocumentHash = DocumentHash([2; 8]);
/// Noon of day 20,000.
pub(crate) const START: Timestamp = Timestamp::from_secs(20_000 * 86_400 + 43_200);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// A disk: survives kills; may be full, torn, or failing for a while.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) inner: MemoryStore,
    /// Every write fails.
    pub(crate) broken: bool,
}

impl BoxStore for Disk {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        self.inner.get(id)
    }
    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        if self.broken { Err(StoreError::Failed("broken".into())) } else { self.inner.apply(changes) }
    }
    fn expire(&mut self, today: Day) -> Result<usize> {
        self.inner.expire(today)
    }
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>> {
        self.inner.waiting(limit)
    }
    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>> {
        self.inner.walk(after, limit)
    }
    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>> {
        self.inner.records(series, from, limit)
    }
    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>> {
        self.inner.newest(series)
    }
    fn drop_records(&mut self, series: Series, before: u32) -> Result<()> {
        self.inner.drop_records(series, before)
    }
    fn usage(&self) -> Usage {
        self.inner.usage()
    }
    fn usage_of(&self, bucket: Day) -> Usage {
        self.inner.usage_of(bucket)
    }
}

pub(crate) struct Node {
    pub(crate) secret: SigningSecret,
    pub(crate) id: NodeId,
    pub(crate) engine: Option<Mailbox<Disk>>,
    pub(crate) disk: Option<Disk>,
    /// Stopped, but its links stay up: a hung process.
    pub(crate) hung: bool,
    /// Listed in the document.
    pub(crate) listed: bool,
    linked: BTreeSet<usize>,
    /// How much longer its disk takes.
    pub(crate) slow: Duration,
}

impl Node {
    fn next_wake(&self) -> Timestamp {
        match &self.engine {
            Some(engine) if !self.hung && self.listed => engine.next_wake().min(engine.next_digest()),
            Some(engine) if !self.hung => engine.next_wake(),
            _ => Timestamp::FAR_FUTURE,
        }
    }
}

/// What happened outside: answers and digests.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The answer to a command, by the number that it was given.
    Answer { number: u64, answer: Answer },
    /// A digest.
    Digest { from: usize, digest: Box<SignedDigest> },
}

enum Event {
    Command(u64, Command),
    Frame(usize, Frame),
}

/// A command without its packet.
#[derive(Clone)]
pub(crate) enum Command {
    Put(Box<SealedBox>, ContentHash),
    Get(BoxId),
    Ack(BoxId, Secret32),
    Loop,
}

pub(crate) struct Cluster {
    pub(crate) now: Timestamp,
    pub(crate) params: Params,
    pub(crate) rng: EngineRng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) placement: Vec<NodeId>,
    pub(crate) latency: Duration,
    pub(crate) limits: Limits,
    cut: BTreeSet<(usize, usize)>,
    queue: BTreeMap<(Timestamp, u64), (usize, Event)>,
    sequence: u64,
    next_links: Timestamp,
    /// Bytes that crossed links between mailboxes in frames, and in items.
    pub(crate) peer_frames: u64,
    pub(crate) peer_items: u64,
    pub(crate) copies: u64,
    /// Times of frames between mailboxes and of what clients sent, for who watches.
    pub(crate) watched: Option<Vec<(Timestamp, usize, usize)>>,
}

pub(crate) fn surb(number: u64) -> Surb {
    let mut bytes = [1; veilpost_packet::geometry::SURB];
    bytes.first_chunk_mut().map(|place: &mut [u8; 8]| *place = number.to_be_bytes()).unwrap();
    Surb::from_bytes(&bytes).unwrap()
}

impl Cluster {
    pub(crate) fn new(seed: u64, count: usize, params: Params) -> Self {
        let mut full = [0; 32];
        full[..8].copy_from_slice(&seed.to_be_bytes());
        let nodes: Vec<_> = (0..count)
            .map(|number| {
                let secret = SigningSecret::from_seed(&[number as u8 + 1; 32]);
                let id = secret.node_id();
                Node {
                    secret,
                    id,
                    engine: None,
                    disk: Some(Disk::default()),
                    hung: false,
                    listed: true,
                    linked: BTreeSet::new(),
                    slow: Duration::ZERO,
                }
            })
            .collect();
        let mut cluster = Self {
            now: START,
            params,
            rng: seeded(full),
            placement: nodes.iter().map(|node| node.id).collect(),
            nodes,
            latency: 20 * MS,
            limits: Limits { quota_bytes: 1 << 40, bucket_bytes: 1 << 40, free_disk_floor: 0 },
            cut: BTreeSet::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            next_links: START,
            peer_frames: 0,
            peer_items: 0,
            copies: 0,
            watched: None,
        };
        (0..count).for_each(|number| cluster.start(number));
        cluster
    }

    pub(crate) fn terms(&self) -> Terms {
        let k = (self.params.copies as usize).min(self.placement.len()).max(1);
        Terms {
            network: NETWORK,
            document: DOCUMENT,
            params: self.params.clone(),
            placement: self.placement.clone(),
            copies: k,
            durable_copies: (self.params.durable_copies as usize).min(k),
            listed: self.nodes.iter().filter(|node| node.listed).map(|node| node.id).collect(),
        }
    }

    /// A document with another placement set or other listed mailboxes is in force.
    pub(crate) fn publish(&mut self) {
        let (now, terms) = (self.now, self.terms());
        for engine in self.nodes.iter_mut().filter_map(|node| node.engine.as_mut()) {
            engine.set_terms(now, terms.clone());
        }
    }

    pub(crate) fn start(&mut self, number: usize) {
        let (now, terms, limits, rng) = (self.now, self.terms(), self.limits, fork(&mut self.rng));
        let node = &mut self.nodes[number];
        node.hung = false;
        if let Some(disk) = node.disk.take() {
            match Mailbox::new(now, SigningSecret::from_seed(&[number as u8 + 1; 32]), terms, limits, disk, rng) {
                Ok(engine) => node.engine = Some(engine),
                // Only a disk that cannot be written before the first start comes here.
                Err(_) => node.disk = Some(Disk::default()),
            }
        }
        self.next_links = now;
    }

    pub(crate) fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if let Some(engine) = node.engine.take() {
            node.disk = Some(engine.into_store());
        }
        node.linked.clear();
        let (now, id) = (self.now, node.id);
        // Links end with a process, however soon the next one begins.
        for other in &mut self.nodes {
            if other.linked.remove(&number)
                && let Some(engine) = &mut other.engine
            {
                engine.handle_peer_link(now, &id, false);
            }
        }
        self.next_links = self.now;
    }

    pub(crate) fn disk(&mut self, number: usize) -> &mut Disk {
        let node = &mut self.nodes[number];
        node.engine.as_mut().map(Mailbox::store_mut).or(node.disk.as_mut()).unwrap()
    }

    pub(crate) fn is_up(&self, number: usize) -> bool {
        self.nodes[number].engine.is_some() && !self.nodes[number].hung
    }

    pub(crate) fn cut(&mut self, one: usize, other: usize, cut: bool) {
        let pair = (one.min(other), one.max(other));
        if cut {
            self.cut.insert(pair);
        } else {
            self.cut.remove(&pair);
        }
        self.next_links = self.now;
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one.min(other), one.max(other)))
    }

    pub(crate) fn number(&self, id: &NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == *id).unwrap()
    }

    /// The listed mailboxes of the placement set, best first: as a client sees it.
    pub(crate) fn holders(&self, id: &BoxId) -> Vec<usize> {
        let placed = topology::placed(&self.placement, id).into_iter().map(|id| self.number(&id));
        placed.filter(|number| self.nodes[*number].listed).collect()
    }

    /// A client's command on its way.
    pub(crate) fn send(&mut self, number: u64, to: usize, command: Command) {
        let at = self.now + exponential(&mut self.rng, self.latency);
        self.push(at, to, Event::Command(number, command));
    }

    /// The same over a link that takes exactly the latency.
    pub(crate) fn send_exactly(&mut self, number: u64, to: usize, command: Command) {
        self.push(self.now + self.latency, to, Event::Command(number, command));
    }

    fn push(&mut self, at: Timestamp, to: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (to, event));
    }

    fn follow_links(&mut self) {
        self.next_links = self.now + 500 * MS;
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                let there = one != other
                    && self.nodes[one].engine.is_some()
                    && self.nodes[other].engine.is_some()
                    && !self.is_cut(one, other);
                if there == self.nodes[one].linked.contains(&other) {
                    continue;
                }
                let (now, id, own) = (self.now, self.nodes[other].id, self.nodes[one].id);
                if there {
                    self.nodes[one].linked.insert(other);
                } else {
                    self.nodes[one].linked.remove(&other);
                }
                if let Some(engine) = &mut self.nodes[one].engine {
                    engine.handle_peer_link(now, &id, there);
                }
                if let (true, Some(engine)) = (there, &mut self.nodes[other].engine) {
                    engine.handle_peer_arrival(now, &own);
                }
            }
        }
    }

    /// Goes on until something is seen or `until` has come.
    pub(crate) fn run(&mut self, until: Timestamp) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.is_empty() && self.now < until {
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wakes: Vec<_> = self.nodes.iter().map(Node::next_wake).collect();
            let next = wakes.iter().copied().chain(arrival).chain([self.next_links]).fold(until, Timestamp::min);
            self.now = next.max(self.now + Duration::from_nanos(1));
            if self.now >= self.next_links {
                self.follow_links();
            }
            let mut busy = self.deliver();
            busy.extend((0..wakes.len()).filter(|number| wakes[*number] <= self.now));
            for number in busy {
                self.poll(number, &mut seen);
            }
        }
        seen
    }

    /// Hands over what has arrived; returns to whom.
    fn deliver(&mut self) -> BTreeSet<usize> {
        let mut commands: BTreeMap<usize, Vec<Arrived>> = BTreeMap::new();
        let mut items: BTreeMap<usize, Vec<(NodeId, FromPeer)>> = BTreeMap::new();
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, event) = entry.remove();
            if !self.is_up(to) {
                continue;
            }
            match event {
                Event::Command(number, command) => {
                    let request = self.request(to, command);
                    let arrived = Arrived {
                        at: self.now,
                        epoch: Epoch(7),
                        document: DOCUMENT,
                        back: Back::Surb(surb(number)),
                        request,
                    };
                    commands.entry(to).or_default().push(arrived);
                }
                Event::Frame(from, frame) => {
                    if self.is_cut(from, to) {
                        continue;
                    }
                    let id = self.nodes[from].id;
                    let told = PeerBody::decode(frame.body()).unwrap();
                    self.peer_items += told.iter().map(|item| item.size() as u64).sum::<u64>();
                    self.copies += told.iter().filter(|item| matches!(item, PeerItem::Copy(_))).count() as u64;
                    let now = self.now;
                    self.nodes[to].engine.as_mut().unwrap().handle_peer_heard(now, &id);
                    items.entry(to).or_default().extend(told.into_iter().map(|item| (id, checked(item, id))));
                }
            }
        }
        let busy: BTreeSet<_> = commands.keys().chain(items.keys()).copied().collect();
        for number in &busy {
            let (commands, items) =
                (commands.remove(number).unwrap_or_default(), items.remove(number).unwrap_or_default());
            if let Some(engine) = &mut self.nodes[*number].engine {
                engine.handle(self.now, commands, items);
            }
        }
        busy
    }

    fn request(&self, to: usize, command: Command) -> Request {
        match command {
            Command::Put(sealed, content) => {
                let secret = &self.nodes[to].secret;
                let own = HolderSignature::sign(secret, &NETWORK, &sealed.id, &content, sealed.expiry);
                Request::Put(sealed, content, own)
            }
            Command::Get(id) => Request::Get(id, District(0)),
            Command::Ack(id, secret) => Request::Ack(id, District(0), secret),
            Command::Loop => Request::Loop,
        }
    }

    fn poll(&mut self, number: usize, seen: &mut Vec<Seen>) {
        if !self.is_up(number) {
            return;
        }
        let (now, listed, slow) = (self.now, self.nodes[number].listed, self.nodes[number].slow);
        let engine = self.nodes[number].engine.as_mut().unwrap();
        // A failing disk: done again later.
        let _ = engine.poll_sweep(now);
        if listed && let Ok(Some(digest)) = engine.poll_digest(now) {
            seen.push(Seen::Digest { from: number, digest: Box::new(digest) });
        }
        let frames: Vec<_> = std::iter::from_fn(|| engine.poll_peer_frame(now)).collect();
        while let Some((_, Back::Surb(surb), reply)) = engine.poll_reply(now) {
            let answered = u64::from_be_bytes(*surb.as_bytes().first_chunk().unwrap());
            let answer = Reply::decode(&reply).unwrap().answer;
            seen.push(Seen::Answer { number: answered, answer });
        }
        for (to, frame) in frames {
            let to = self.number(&to);
            self.peer_frames += 1;
            if let Some(watched) = &mut self.watched {
                watched.push((now, number, to));
            }
            self.push(now + self.latency + slow, to, Event::Frame(number, frame));
        }
    }

    pub(crate) fn random(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }
}

/// As `FromPeer::check`, for mailboxes that sign well: signatures are checked in tests of their own.
fn checked(item: PeerItem, from: NodeId) -> FromPeer {
    match item {
        PeerItem::Copy(Copy { sealed, held, store, announced }) => {
            let theirs = held.map(|signature| Confirmation {
                signature: HolderSignature { holder: from, signature },
                store: StoreId(store),
            });
            let content = sealed.content_hash(&NETWORK);
            FromPeer::Copy { sealed, content, theirs, announced }
        }
        PeerItem::Holds { id, content, expiry, store, signature, asks } => {
            let signature = HolderSignature { holder: from, signature };
            FromPeer::Holds { id, content, expiry, theirs: Confirmation { signature, store: StoreId(store) }, asks }
        }
        other => FromPeer::check(other, &NETWORK, from),
    }
}
