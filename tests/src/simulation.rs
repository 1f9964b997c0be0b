//! A whole network in one thread and virtual time: the engines that the daemons run, with a seed, packet loss and the real
//! cryptography. Two runs with one seed give one trace of events (time, node, kind, size), whatever the machine.
//!
//! What is simplified: links keep order and lose nothing (they are QUIC in the daemons); packets are lost inside nodes.

use crate::fixed::FixedNetwork;
use rand::Rng;
use std::{collections::BTreeMap, time::Duration};
use veilpost_client::{
    content::Uuid,
    core::{Answer, Core, Event, Session},
    signal,
    store::{Store, contacts::ContactState, messages},
};
use veilpost_mailbox::{
    engine::{Arrived, Limits as MailboxLimits, Mailbox, Request, Terms},
    memory::MemoryStore,
};
use veilpost_mixnode::{Engine, EngineConfig, Limits, Origin};
use veilpost_packet::{
    command::Command,
    digest::SignedDigest,
    frame::{Frame, FrameKind, Hello, Want},
    geometry::MIX_LAYERS,
    ids::{LinkKey, NodeId, SessionAddress},
    primitives::{SigningSecret, hash},
    random::{EngineRng, bytes, exponential, fork, seeded},
    replay::{TagKey, TagTable},
    sphinx::{Packet, SphinxSecret, Surb, Unwrapped, unwrap},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, Params, Role, UnverifiedDocument, document::Place, signed::sign_view,
};

/// What a simulated network is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything follows from it.
    pub seed: u64,
    /// Mixes per layer.
    pub width: usize,
    /// Entries.
    pub entries: usize,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Clients.
    pub clients: usize,
    /// Probability that a packet is lost at a hop.
    pub loss: f64,
    /// Mean of the exponential latency of a link.
    pub latency: Duration,
    /// The network's parameters.
    pub params: Params,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            width: 2,
            entries: 2,
            mailboxes: 3,
            clients: 2,
            loss: 0.0,
            latency: Duration::from_millis(20),
            params: Params::standard(),
        }
    }
}

/// A node of the simulation: relays first, then mailboxes, then clients.
type NodeNumber = usize;

enum Message {
    Packet { from: Place, packet: Packet },
    FromClient { client: usize, frame: Frame },
    ToClient { client: usize, session: SessionAddress, frame: Frame },
    Digest { from: NodeId, bytes: Vec<u8> },
}

struct Relay {
    engine: Engine,
    secret: SphinxSecret,
}

struct MailboxNode {
    id: NodeId,
    seed: [u8; 32],
    engine: Option<Mailbox<MemoryStore>>,
    secret: SphinxSecret,
}

struct Client {
    core: Core,
    link: Option<(Session, usize, SessionAddress)>,
    /// How slow its clock is.
    behind: Duration,
}

impl Client {
    fn clock(&self, now: Timestamp) -> Timestamp {
        now - self.behind
    }
}

/// The network.
pub struct Simulation {
    now: Timestamp,
    setup: Setup,
    rng: EngineRng,
    authorities: AuthoritySet,
    document: Document,
    relays: Vec<Relay>,
    mailboxes: Vec<MailboxNode>,
    clients: Vec<Client>,
    by_id: BTreeMap<NodeId, NodeNumber>,
    queue: BTreeMap<(Timestamp, u64), (NodeNumber, Message)>,
    sequence: u64,
    trace: [u8; 32],
    traced: u64,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now).field("events", &self.traced).finish_non_exhaustive()
    }
}

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const AUTHORITIES: u8 = 4;
const NAME: &str = "simulation";

impl Simulation {
    /// Builds the network: keys, document, nodes, clients with an account each, all connected.
    pub fn new(setup: Setup) -> Self {
        let mut rng = seeded(hash("simulation seed", &[&setup.seed.to_be_bytes()]));
        let authorities: Vec<_> = (0..AUTHORITIES).map(|_| SigningSecret::from_seed(&bytes(&mut rng))).collect();
        let ids: Vec<_> = authorities.iter().map(SigningSecret::authority_id).collect();
        let set = AuthoritySet::new(NAME, &ids, 1).expect("four authorities tolerate one");
        let mut keys = Vec::new();
        let roles =
            [(Role::Mix, setup.width * MIX_LAYERS), (Role::Entry, setup.entries), (Role::Mailbox, setup.mailboxes)];
        for role in roles.into_iter().flat_map(|(role, count)| std::iter::repeat_n(role, count)) {
            keys.push((role, bytes(&mut rng), SphinxSecret::from_seed(bytes(&mut rng))));
        }
        let descriptors: Vec<_> = keys
            .iter()
            .map(|(role, seed, sphinx)| descriptor(*role, &SigningSecret::from_seed(seed), sphinx, &mut rng))
            .collect();
        let fixed = FixedNetwork {
            network: set.network(),
            descriptors: &descriptors,
            params: setup.params.clone(),
            epoch: Epoch(1),
            valid_after: START - Duration::from_secs(60),
            valid_for: Duration::from_secs(90 * 86_400),
        };
        let signed = sign_view(&fixed.view().expect("enough nodes"), &authorities);
        let document = UnverifiedDocument::from_bytes(&signed)
            .and_then(|document| document.verify(&set, START))
            .expect("signed by all authorities");
        let mut simulation = Self {
            now: START,
            rng: fork(&mut rng),
            authorities: set,
            document,
            relays: Vec::new(),
            mailboxes: Vec::new(),
            clients: Vec::new(),
            by_id: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            trace: [0; 32],
            traced: 0,
            setup,
        };
        for (role, seed, secret) in keys {
            simulation.add_node(role, seed, secret, &mut rng);
        }
        for number in 0..simulation.setup.clients {
            simulation.add_client(number, &mut rng);
        }
        simulation
    }

    fn add_node(&mut self, role: Role, seed: [u8; 32], secret: SphinxSecret, rng: &mut EngineRng) {
        let id = SigningSecret::from_seed(&seed).node_id();
        self.by_id.insert(id, self.relays.len() + self.mailboxes.len());
        if role == Role::Mailbox {
            let engine = Some(self.mailbox_engine(&seed, MemoryStore::default(), fork(rng)));
            self.mailboxes.push(MailboxNode { id, seed, engine, secret });
            return;
        }
        let config = EngineConfig { id, document: self.document.clone(), limits: Limits::default() };
        let engine = Engine::new(config, TagKey::new(bytes(rng)), TagTable::new(1 << 16), fork(rng));
        self.relays.push(Relay { engine: engine.expect("the document lists it"), secret });
    }

    fn mailbox_engine(&self, seed: &[u8; 32], store: MemoryStore, rng: EngineRng) -> Mailbox<MemoryStore> {
        let terms =
            Terms { network: self.document.network, document: self.document.hash(), params: self.setup.params.clone() };
        let limits = MailboxLimits { quota_bytes: 1 << 30, free_disk_floor: 0 };
        let engine = Mailbox::new(self.now, SigningSecret::from_seed(seed), terms, limits, store, rng);
        engine.expect("the store is good")
    }

    fn add_client(&mut self, number: usize, rng: &mut EngineRng) {
        let mut store = Store::in_memory().expect("memory");
        let name = format!("client {number}");
        let mut account = fork(rng);
        let made =
            store.transaction(|tx| signal::create_account(tx, &name, self.document.network, self.now, &mut account));
        made.expect("a fresh store takes an account");
        let core = Core::new(self.now, store, self.authorities.clone(), fork(rng)).expect("an account");
        self.clients.push(Client { core, link: None, behind: Duration::ZERO });
        self.connect(number);
    }

    fn client_node(&self, client: usize) -> NodeNumber {
        self.relays.len() + self.mailboxes.len() + client
    }

    /// Connects a client to its guard, or to the first entry before it has a document.
    pub fn connect(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(number) else { return };
        let first = self.document.entries.first().expect("an entry").id;
        let entry = client.core.guards().first().copied().unwrap_or(first);
        let session = client.core.new_session();
        let hello = Hello::decode(session.hello.body()).expect("the core's own hello");
        let relay = self.by_id.get(&entry).copied().expect("the document lists its entries");
        let opened = self.relays.get_mut(relay).expect("a relay").engine.open_session(self.now, &hello);
        let address = opened.expect("a fresh address");
        client.core.handle_connected(client.clock(self.now), &session, entry);
        client.link = Some((session, relay, address));
    }

    /// Cuts a client's link.
    pub fn disconnect(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(number) else { return };
        client.core.handle_disconnected();
        if let Some((_, relay, address)) = client.link.take() {
            self.relays.get_mut(relay).expect("a relay").engine.close_session(self.now, &address);
        }
    }

    /// Ends a client's process and starts it anew from its store, as a crash and a restart do.
    pub fn restart_client(&mut self, number: usize) {
        self.disconnect(number);
        let rng = fork(&mut self.rng);
        let client = self.clients.remove(number);
        let (now, behind) = (client.clock(self.now), client.behind);
        let core = Core::new(now, client.core.into_store(), self.authorities.clone(), rng);
        self.clients.insert(number, Client { core: core.expect("the store is good"), link: None, behind });
        self.connect(number);
    }

    /// Sets a client's clock back.
    pub fn set_clock_behind(&mut self, number: usize, behind: Duration) {
        self.clients.get_mut(number).expect("a client").behind = behind;
    }

    /// Ends a mailbox's process and starts it anew from its store: replies that waited are lost.
    pub fn restart_mailbox(&mut self, number: usize) {
        let rng = fork(&mut self.rng);
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        let (seed, store) = (mailbox.seed, mailbox.engine.take().expect("running").into_store());
        let engine = self.mailbox_engine(&seed, store, rng);
        self.mailboxes.get_mut(number).expect("a mailbox").engine = Some(engine);
    }

    /// Fills a mailbox's disk, or makes room again.
    pub fn fill_disk(&mut self, number: usize, full: bool) {
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        mailbox.engine.as_mut().expect("running").store_mut().disk_full = full;
    }

    /// Virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A client's engine.
    pub fn client(&mut self, number: usize) -> &mut Core {
        &mut self.clients.get_mut(number).expect("a client").core
    }

    /// Hash over all events so far: time, node, kind, size.
    pub fn trace(&self) -> [u8; 32] {
        self.trace
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.traced
    }

    /// The network document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    fn note(&mut self, node: NodeNumber, kind: u8, size: usize) {
        self.traced += 1;
        let (at, node) = (self.now.as_nanos().to_be_bytes(), (node as u64).to_be_bytes());
        self.trace = hash("simulation event", &[&self.trace, &at, &node, &[kind], &(size as u64).to_be_bytes()]);
    }

    fn send(&mut self, to: NodeNumber, message: Message) {
        if matches!(message, Message::Packet { .. }) && self.rng.random_bool(self.setup.loss) {
            return;
        }
        let at = self.now + exponential(&mut self.rng, self.setup.latency);
        // Links keep order: nothing overtakes, except packets among different links, which the mixes shuffle anyway.
        self.sequence += 1;
        let ordered = match &message {
            Message::Packet { .. } => at,
            _ => self.now + self.setup.latency,
        };
        self.queue.insert((ordered, self.sequence), (to, message));
    }

    /// Runs until `until`, or until `done` says so; true in the second case.
    pub fn run(&mut self, until: Timestamp, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let mut checked = self.now;
        while self.now < until {
            self.step(until);
            if self.now >= checked + Duration::from_secs(1) {
                checked = self.now;
                if done(self) {
                    return true;
                }
            }
        }
        done(self)
    }

    fn step(&mut self, until: Timestamp) {
        self.poll_all();
        let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
        let relays = self.relays.iter().filter_map(|relay| relay.engine.next_wake());
        let mailboxes = self.mailboxes.iter().filter_map(|mailbox| Some(mailbox.engine.as_ref()?.next_wake()));
        let clients = self.clients.iter().map(|client| client.core.next_wake(self.now - client.behind) + client.behind);
        let next = relays.chain(mailboxes).chain(clients).chain(arrival).min().unwrap_or(until).min(until);
        // At least a nanosecond on, so that a wake-up in the past cannot stand still.
        self.now = next.max(self.now + Duration::from_nanos(1));
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, message) = entry.remove();
            self.deliver(to, message);
        }
    }

    fn deliver(&mut self, to: NodeNumber, message: Message) {
        let (now, epoch) = (self.now, self.document.epoch);
        match message {
            Message::Packet { from, packet } if to < self.relays.len() => {
                self.note(to, 1, packet.as_bytes().len());
                let id = self.document.entries.first().expect("an entry").id;
                let relay = self.relays.get_mut(to).expect("in range");
                if let Ok(unwrapped) = unwrap(&relay.secret, &packet) {
                    let origin = Origin::Node { id, place: from };
                    let _counted = relay.engine.handle_unwrapped(now, epoch, origin, unwrapped);
                }
            }
            Message::Packet { packet, .. } => {
                self.note(to, 2, packet.as_bytes().len());
                let network = self.document.network;
                let mailbox = self.mailboxes.get_mut(to - self.relays.len()).expect("a mailbox");
                let Ok(Unwrapped::Deliver { payload, .. }) = unwrap(&mailbox.secret, &packet) else { return };
                let Some((surb, command)) = payload.open_forward().and_then(|plain| Command::decode(&plain).ok())
                else {
                    return;
                };
                let holder = SigningSecret::from_seed(&mailbox.seed);
                let arrived = Arrived {
                    at: now,
                    epoch: self.document.epoch,
                    document: self.document.hash(),
                    surb,
                    request: Request::check(command, &network, &holder),
                };
                if let Some(engine) = &mut mailbox.engine {
                    engine.handle_commands(now, vec![arrived]);
                }
            }
            Message::FromClient { client, frame } => self.deliver_from_client(to, client, &frame),
            Message::ToClient { client, session, frame } => {
                self.note(to, 4, frame.as_bytes().len());
                self.deliver_to_client(client, session, &frame);
            }
            Message::Digest { from, bytes } => {
                let relay = self.relays.get_mut(to).expect("an entry");
                let digest = SignedDigest::verify(&bytes).expect("mailboxes sign");
                let _refused = relay.engine.handle_digest(now, &from, &digest);
            }
        }
    }

    fn deliver_from_client(&mut self, to: NodeNumber, client: usize, frame: &Frame) {
        self.note(to, 3, frame.as_bytes().len());
        let Some((_, relay_number, address)) = self.clients.get(client).and_then(|client| client.link.as_ref()) else {
            return;
        };
        let epoch = self.document.epoch;
        let (address, relay) = (*address, self.relays.get_mut(*relay_number).expect("a relay"));
        match frame.kind() {
            FrameKind::Packet => {
                let packet = Packet::from_bytes(frame.body()).expect("a frame's body is a packet");
                if let Ok(unwrapped) = unwrap(&relay.secret, &packet) {
                    let _counted = relay.engine.handle_unwrapped(self.now, epoch, Origin::Session(address), unwrapped);
                }
            }
            FrameKind::Want => relay.engine.handle_want(&address, &Want::decode(frame.body()).expect("a want")),
            _ => {}
        }
    }

    fn deliver_to_client(&mut self, number: usize, address: SessionAddress, frame: &Frame) {
        let Some(client) = self.clients.get_mut(number) else { return };
        let Some((session, _, current)) = &client.link else { return };
        if *current != address {
            return;
        }
        if frame.kind() == FrameKind::Packet {
            let packet = Packet::from_bytes(frame.body()).expect("a frame's body is a packet");
            if let Ok(unwrapped) = unwrap(&session.secret, &packet) {
                client.core.handle_delivered(client.clock(self.now), unwrapped);
            }
        } else {
            client.core.handle_frame(client.clock(self.now), frame).expect("honest entries send good streams");
        }
    }

    fn poll_all(&mut self) {
        let now = self.now;
        for number in 0..self.relays.len() {
            let (mut packets, mut frames) = (Vec::new(), Vec::new());
            let relay = self.relays.get_mut(number).expect("in range");
            let place = relay.engine.place().expect("the document lists it");
            let _on_disk = relay.engine.take_new_tags();
            packets.extend(std::iter::from_fn(|| relay.engine.poll_forward(now)));
            frames.extend(std::iter::from_fn(|| relay.engine.poll_downlink(now)));
            for forward in packets {
                let to = self.by_id.get(&forward.to).copied().expect("the engine checks next hops");
                self.send(to, Message::Packet { from: place, packet: forward.packet });
            }
            for (session, frame) in frames {
                let of = |client: &Client| client.link.as_ref().is_some_and(|(_, _, address)| *address == session);
                if let Some(client) = self.clients.iter().position(of) {
                    self.send(self.client_node(client), Message::ToClient { client, session, frame });
                }
            }
        }
        for number in 0..self.mailboxes.len() {
            self.poll_mailbox(number);
        }
        for number in 0..self.clients.len() {
            self.poll_client(number);
        }
    }

    fn poll_mailbox(&mut self, number: usize) {
        let mailbox = self.mailboxes.get_mut(number).expect("in range");
        let (id, Some(engine)) = (mailbox.id, &mut mailbox.engine) else { return };
        let replies: Vec<(Epoch, Surb, Vec<u8>)> = std::iter::from_fn(|| engine.poll_reply(self.now)).collect();
        // A full disk: the same tags are published when there is room.
        let digest = engine.poll_digest(self.now).unwrap_or_default();
        for (_, surb, plaintext) in replies {
            let to = self.by_id.get(&NodeId(surb.first_hop())).copied();
            if let (Some(to), Ok(packet)) = (to, surb.reply(&plaintext)) {
                self.send(to, Message::Packet { from: Place::Mailbox, packet });
            }
        }
        if let Some(digest) = digest {
            let entries: Vec<_> =
                self.document.entries.iter().filter_map(|entry| self.by_id.get(&entry.id).copied()).collect();
            for entry in entries {
                self.send(entry, Message::Digest { from: id, bytes: digest.as_bytes().to_vec() });
            }
        }
    }

    fn poll_client(&mut self, number: usize) {
        let client = self.clients.get_mut(number).expect("in range");
        let now = client.clock(self.now);
        client.core.handle_timers(now);
        while let Some(job) = client.core.poll_job(now) {
            client.core.handle_built(job.run());
        }
        let frames: Vec<_> = std::iter::from_fn(|| client.core.poll_frame(now)).collect();
        let entry = client.link.as_ref().map(|(_, relay, _)| *relay);
        for frame in frames {
            if let Some(entry) = entry {
                self.send(entry, Message::FromClient { client: number, frame });
            }
        }
    }

    /// Makes two clients contacts of each other by an invitation; gives their names for one another.
    ///
    /// # Panics
    /// If that takes more than a virtual hour: on a network that loses packets, an offer may have to be sent again.
    pub fn befriend(&mut self, inviter: usize, accepter: usize) -> (String, String) {
        let now = self.now;
        self.client(inviter).invite(now, None, 1).expect("an invitation");
        let mut link = None;
        self.run(now + Duration::from_secs(600), |simulation| {
            if let Some((1, Ok(Answer::Invited { link: made, .. }))) = simulation.client(inviter).poll_answer() {
                link = Some(made);
            }
            link.is_some()
        });
        let (link, now) = (link.expect("an answer within 20 s"), self.now);
        self.client(accepter).accept(now, &link, None, 2).expect("a good link");
        let both = self.run(now + Duration::from_secs(3_600), |simulation| {
            simulation.friends(inviter).len() == 1 && simulation.friends(accepter).len() == 1
        });
        assert!(both, "the invitation is answered");
        let name = |simulation: &mut Self, client| simulation.friends(client).pop().expect("a contact");
        (name(self, inviter), name(self, accepter))
    }

    /// Names of the contacts that a client can write to.
    fn friends(&mut self, client: usize) -> Vec<String> {
        let all = self.client(client).contacts().expect("store").into_iter();
        let usable = |state| matches!(state, ContactState::Answered | ContactState::Established);
        all.filter(|one| usable(one.state)).map(|one| one.name).collect()
    }

    /// Texts that a client has received, in order of arrival, and how many of its own are delivered.
    pub fn history(&mut self, client: usize) -> (Vec<String>, usize) {
        let all = messages::list(self.client(client).store().connection(), None, 100_000).expect("store");
        let received = all.iter().filter(|one| one.message.direction == messages::Direction::In);
        let received = received.filter_map(|one| one.message.text.clone()).collect();
        (received, all.iter().filter(|one| one.message.state == messages::State::Delivered).count())
    }

    /// Ids of all messages of a client, to see whether any came twice.
    pub fn uuids(&mut self, client: usize) -> Vec<Uuid> {
        let all = messages::list(self.client(client).store().connection(), None, 100_000).expect("store");
        all.into_iter().map(|one| one.message.uuid).collect()
    }

    /// Events of a client since the last call.
    pub fn drain_events(&mut self, client: usize) -> Vec<Event> {
        let core = self.client(client);
        std::iter::from_fn(|| core.poll_event()).collect()
    }
}

fn descriptor(role: Role, id: &SigningSecret, sphinx: &SphinxSecret, rng: &mut EngineRng) -> Descriptor {
    Descriptor {
        id: id.node_id(),
        epoch: Epoch(1),
        role,
        addresses: Vec::new(),
        onion: None,
        link_key: LinkKey(bytes(rng)),
        sphinx_keys: vec![sphinx.public(); 2],
        software: "simulation".into(),
        family: id.node_id().to_string(),
        capacity: 1_000,
    }
}
