//! A whole network in one thread and virtual time: authorities that vote each epoch, relays that publish descriptors and fetch
//! documents, clients that send and read; the engines that the daemons run, with a seed, faults and the real cryptography. Two
//! runs with one seed give one trace of events (time, node, kind, size), whatever the machine.
//!
//! What is simplified: links keep order and lose nothing (they are QUIC in the daemons), packets are lost inside nodes; a link
//! is up at once, one that fails is noticed after a second; an entry that lacks digests gets them with the next one.
//!
//! | module | holds |
//! |---|---|
//! | `council` | authorities |
//! | `node` | what relays and mailboxes have in common: disk, clock, documents, keys |
//! | `relays` | mixes and entries |
//! | `mailboxes` | mailboxes |
//! | `conduct` | mixes and entries that drop, delay, change or repeat packets |
//! | `hostile` | mailboxes that do not keep their word |
//! | `ledger` | what passed by that no log may tell |
//! | `clients` | clients and their people |
//! | `packets` | real packets, or models of them |
//! | `watch` | what can be seen |

mod clients;
mod conduct;
mod council;
mod hostile;
mod ledger;
mod mailboxes;
mod node;
mod packets;
mod relays;
mod watch;

pub use conduct::Conduct;
pub use hostile::Nature;
pub use packets::Packets;
pub use watch::{Asked, CommandSight, Sight, Truth, Watch};

use clients::Client;
use council::Member;
use ledger::Ledger;
use mailboxes::MailboxNode;
use node::Node;
use rand::Rng;
use relays::Relay;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_mixnode::Limits;
use veilpost_packet::{
    frame::{Flags, Frame},
    geometry::{FRAME, FRAME_BODY, HASH, MIX_LAYERS},
    ids::{LinkKey, NodeId, SessionAddress},
    primitives::hash,
    random::{EngineRng, bytes, exponential, fork, seeded},
    sphinx::Packet,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Document, NetworkFile, Params, Role, Schedule, network::NetworkAuthority, schedule::relay_steps, wire,
};

/// What a simulated network is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything follows from it.
    pub seed: u64,
    /// Authorities.
    pub authorities: usize,
    /// How many of them may be hostile.
    pub faulty: usize,
    /// Mixes per layer.
    pub width: usize,
    /// Entries.
    pub entries: usize,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Nodes that the authorities do not admit at the start.
    pub barred: Vec<Who>,
    /// Clients.
    pub clients: usize,
    /// Probability that a packet is lost at a hop.
    pub loss: f64,
    /// Mean of the exponential latency of a link.
    pub latency: Duration,
    /// Length of a phase of the authorities' rounds. Without one a round takes half of an epoch, the longest that it may.
    pub phase: Option<Duration>,
    /// Bytes of boxes that a mailbox takes.
    pub quota_bytes: u64,
    /// Clients that an entry serves at once.
    pub sessions: usize,
    /// What packets are made of.
    pub packets: Packets,
    /// The network's parameters.
    pub params: Params,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            authorities: 4,
            faulty: 1,
            width: 2,
            entries: 2,
            mailboxes: 3,
            barred: Vec::new(),
            clients: 2,
            loss: 0.0,
            latency: Duration::from_millis(20),
            phase: None,
            quota_bytes: 1 << 30,
            sessions: Limits::default().sessions,
            packets: Packets::Real,
            // Nodes' loops would be nine tenths of the work where eleven nodes serve two clients.
            params: Params { node_loop_gap: Duration::from_secs(60), ..Params::standard() },
        }
    }
}

/// Someone in the simulation. Relays are mixes first, then entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// An authority.
    Authority(usize),
    /// A mix or an entry.
    Relay(usize),
    /// A mailbox.
    Mailbox(usize),
    /// A client.
    Client(usize),
}

impl Who {
    fn trace(self) -> [u8; 9] {
        let (kind, number) = match self {
            Self::Authority(number) => (0, number),
            Self::Relay(number) => (1, number),
            Self::Mailbox(number) => (2, number),
            Self::Client(number) => (3, number),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&(number as u64).to_be_bytes());
        bytes
    }
}

enum Message {
    Packet {
        from: NodeId,
        flags: Flags,
        packet: Packet,
    },
    FromClient {
        session: SessionAddress,
        frame: Frame,
    },
    ToClient {
        session: SessionAddress,
        frame: Frame,
    },
    Digest {
        from: usize,
        bytes: Arc<[u8]>,
    },
    Set {
        from: usize,
        bytes: Arc<[u8]>,
    },
    Peer {
        from: usize,
        frame: Frame,
    },
    /// As a value: its signatures were checked or made where it comes from, and checking takes a third of the time.
    Council {
        from: usize,
        message: wire::Message,
    },
    Errand {
        from: Who,
        number: u64,
        messages: Vec<wire::Message>,
    },
    Told {
        number: u64,
        answers: Option<Vec<wire::Message>>,
    },
}

impl Message {
    /// Bytes on a link between nodes and clients; `None` for what authorities are told.
    fn size(&self) -> Option<u32> {
        let in_frames = |bytes: &[u8]| bytes.len().div_ceil(FRAME_BODY) * FRAME;
        let size = match self {
            Self::Packet { .. } => FRAME,
            Self::FromClient { frame, .. } | Self::ToClient { frame, .. } | Self::Peer { frame, .. } => {
                frame.as_bytes().len()
            }
            Self::Digest { bytes, .. } | Self::Set { bytes, .. } => in_frames(bytes),
            Self::Council { .. } | Self::Errand { .. } | Self::Told { .. } => return None,
        };
        u32::try_from(size).ok()
    }
}

/// The network.
pub struct Simulation {
    now: Timestamp,
    setup: Setup,
    rng: EngineRng,
    network: NetworkFile,
    authorities: AuthoritySet,
    members: Vec<Member>,
    relays: Vec<Relay>,
    mailboxes: Vec<MailboxNode>,
    clients: Vec<Client>,
    admitted: BTreeMap<NodeId, Role>,
    /// Entries that the network file names.
    bootstrap: Vec<NodeId>,
    by_id: BTreeMap<NodeId, Who>,
    cut: BTreeSet<(Who, Who)>,
    /// Shares of packets that single links lose, in one direction.
    flooded: BTreeMap<(Who, Who), f64>,
    queue: BTreeMap<(Timestamp, u64), (Who, Message)>,
    sequence: u64,
    exchanges: u64,
    /// When each wants to be polled, and who must be polled now.
    wakes: BTreeMap<Who, Timestamp>,
    agenda: BTreeSet<(Timestamp, Who)>,
    touched: BTreeSet<Who>,
    made: BTreeMap<Epoch, ([u8; HASH], Document)>,
    failed: Vec<(Epoch, usize, String)>,
    signed: BTreeMap<(Epoch, usize), [u8; HASH]>,
    lost_keys: u64,
    ledger: Ledger,
    watch: Option<Watch>,
    trace: [u8; 32],
    traced: u64,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now).field("events", &self.traced).finish_non_exhaustive()
    }
}

const GENESIS: u64 = 1_800_000_000;
const NAME: &str = "simulation";
/// A dial that fails is noticed after so long.
const NOTICED: Duration = Duration::from_secs(1);

impl Simulation {
    /// Builds the network: authorities, nodes, the first document, clients with an account each, all connected.
    pub fn new(setup: Setup) -> Self {
        let mut rng = seeded(hash("simulation seed", &[&setup.seed.to_be_bytes()]));
        let members: Vec<_> = (0..setup.authorities).map(|_| Member::new(bytes(&mut rng))).collect();
        let network = network_file(&setup, &members);
        let authorities = network.authority_set().expect("the setup's authorities form a network");
        let first = network.schedule.round_start(Epoch(1), setup.faulty) - Duration::from_secs(1);
        let mut simulation = Self {
            now: first,
            rng: fork(&mut rng),
            network,
            authorities,
            members,
            relays: Vec::new(),
            mailboxes: Vec::new(),
            clients: Vec::new(),
            admitted: BTreeMap::new(),
            bootstrap: Vec::new(),
            by_id: BTreeMap::new(),
            cut: BTreeSet::new(),
            flooded: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            exchanges: 0,
            wakes: BTreeMap::new(),
            agenda: BTreeSet::new(),
            touched: BTreeSet::new(),
            made: BTreeMap::new(),
            failed: Vec::new(),
            signed: BTreeMap::new(),
            lost_keys: 0,
            ledger: Ledger::default(),
            watch: None,
            trace: [0; 32],
            traced: 0,
            setup,
        };
        simulation.add_nodes(&mut rng);
        (0..simulation.setup.authorities).for_each(|number| simulation.start_authority(number));
        let begun = simulation.network.schedule.start(Epoch(1)) + Duration::from_secs(1);
        simulation.run(begun, |_| false);
        for _ in 0..simulation.setup.clients {
            simulation.add_client();
        }
        // An invitation's expiry is counted in days of the document's length.
        simulation.run(begun + Duration::from_secs(600), |simulation| {
            (0..simulation.clients()).all(|client| simulation.client(client).document().is_some())
        });
        simulation
    }

    fn add_nodes(&mut self, rng: &mut EngineRng) {
        let Setup { width, entries, mailboxes, barred, .. } = self.setup.clone();
        let roles = [(Role::Mix, width * MIX_LAYERS), (Role::Entry, entries), (Role::Mailbox, mailboxes)];
        let roles = roles.into_iter().flat_map(|(role, count)| std::iter::repeat_n(role, count));
        for (number, role) in (0..).zip(roles) {
            let node = Node::new(number, role, &self.network, fork(rng));
            let id = node.id;
            let who = if role == Role::Mailbox {
                self.mailboxes.push(MailboxNode::new(node));
                Who::Mailbox(self.mailboxes.len() - 1)
            } else {
                self.relays.push(Relay::new(node));
                Who::Relay(self.relays.len() - 1)
            };
            self.by_id.insert(id, who);
            if !barred.contains(&who) {
                self.admitted.insert(id, role);
                self.bootstrap.extend((role == Role::Entry).then_some(id));
            }
            self.start_node(who);
        }
    }

    /// Virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When epochs begin and what happens inside them.
    pub fn schedule(&self) -> Schedule {
        self.network.schedule
    }

    /// Hash over all events so far: time, node, kind, size.
    pub fn trace(&self) -> [u8; 32] {
        self.trace
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.traced
    }

    /// The documents that were made, by epoch.
    pub fn made(&self) -> impl Iterator<Item = &Document> {
        self.made.values().map(|(_, document)| document)
    }

    /// Rounds that ended without a document at an authority: epoch, authority, reason.
    pub fn failed(&self) -> &[(Epoch, usize, String)] {
        &self.failed
    }

    /// Packets that came to a node without a key for them.
    pub fn lost_keys(&self) -> u64 {
        self.lost_keys
    }

    /// Box ids, tags, secrets and addresses of users that passed by, each with what it is.
    pub fn private(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.ledger.seen()
    }

    /// A node's number in the simulation.
    pub fn find(&self, id: &NodeId) -> Option<Who> {
        self.by_id.get(id).copied()
    }

    /// A node's id.
    pub fn id_of(&self, who: Who) -> NodeId {
        self.node(who).id
    }

    /// True if no packet and no word gets from one to the other.
    pub fn is_cut(&self, one: Who, other: Who) -> bool {
        self.cut.contains(&(one.min(other), one.max(other)))
    }

    /// Cuts the links between all of `some` and all of `others`.
    pub fn cut(&mut self, some: &[Who], others: &[Who]) {
        for one in some {
            let pairs = others.iter().filter(|other| *other != one);
            self.cut.extend(pairs.map(|other| (*one.min(other), *one.max(other))));
        }
        self.hang_up_if_cut();
    }

    /// Mends the links between all of `some` and all of `others`.
    pub fn mend(&mut self, some: &[Who], others: &[Who]) {
        for one in some {
            for other in others {
                let was_cut = self.cut.remove(&(*one.min(other), *one.max(other)));
                if let (true, Who::Authority(one), Who::Authority(other)) = (was_cut, *one, *other) {
                    self.link_authorities(one, other);
                }
            }
        }
    }

    /// A link from one node to another loses this share of its packets, as one does whose queue somebody keeps full.
    pub fn flood(&mut self, from: Who, to: Who, lost: f64) {
        self.flooded.insert((from, to), lost);
    }

    fn note(&mut self, who: Who, kind: u8, size: usize) {
        self.traced += 1;
        let at = self.now.as_nanos().to_be_bytes();
        self.trace = hash("simulation event", &[&self.trace, &at, &who.trace(), &[kind], &(size as u64).to_be_bytes()]);
    }

    fn touch(&mut self, who: Who) {
        self.touched.insert(who);
    }

    fn send(&mut self, from: Who, to: Who, message: Message) {
        if let (Some(watch), Some(size)) = (&mut self.watch, message.size()) {
            watch.frames.push(Sight { at: self.now, from, to, size });
        }
        let is_packet = matches!(message, Message::Packet { .. });
        let flooded = self.flooded.get(&(from, to)).copied().unwrap_or(0.0);
        let lost = |rng: &mut EngineRng, share: f64| share > 0.0 && rng.random_bool(share);
        if is_packet && (self.rng.random_bool(self.setup.loss) || lost(&mut self.rng, flooded)) {
            return;
        }
        self.sequence += 1;
        if self.is_cut(from, to) {
            // Who waits for an answer notices; everything else is lost.
            let waits = match message {
                Message::Errand { from, number, .. } => Some((from, number)),
                Message::Told { number, .. } => Some((to, number)),
                _ => None,
            };
            if let Some((who, number)) = waits {
                let told = Message::Told { number, answers: None };
                self.queue.insert((self.now + NOTICED, self.sequence), (who, told));
            }
            return;
        }
        // Links keep order: nothing overtakes, except packets among different links, which the mixes shuffle anyway.
        let random = exponential(&mut self.rng, self.setup.latency);
        let after = if is_packet { random } else { self.setup.latency };
        self.queue.insert((self.now + after, self.sequence), (to, message));
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

    /// Runs until an epoch begins.
    pub fn run_to_epoch(&mut self, epoch: Epoch) {
        let start = self.schedule().start(epoch);
        self.run(start, |_| false);
    }

    fn step(&mut self, until: Timestamp) {
        self.poll_touched();
        let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.agenda.first().map(|(at, _)| *at);
        let next = arrival.into_iter().chain(wake).min().unwrap_or(until).min(until);
        // At least a nanosecond on, so that a wake-up in the past cannot stand still.
        self.now = next.max(self.now + Duration::from_nanos(1));
        while let Some((at, who)) = self.agenda.first().copied().filter(|(at, _)| *at <= self.now) {
            self.agenda.remove(&(at, who));
            self.touch(who);
        }
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, message) = entry.remove();
            self.touch(to);
            self.deliver(to, message);
        }
    }

    fn deliver(&mut self, to: Who, message: Message) {
        match (to, message) {
            (_, Message::Packet { from, flags, packet }) => {
                self.note(to, 1, packet.as_bytes().len());
                self.deliver_packet(to, from, flags, &packet);
            }
            (Who::Relay(relay), Message::FromClient { session, frame }) => {
                self.note(to, 3, frame.as_bytes().len());
                self.deliver_from_client(relay, session, &frame);
            }
            (Who::Client(client), Message::ToClient { session, frame }) => {
                self.note(to, 4, frame.as_bytes().len());
                self.deliver_to_client(client, session, &frame);
            }
            (Who::Relay(relay), Message::Digest { from, bytes }) => self.deliver_digest(relay, from, &bytes),
            (Who::Relay(relay), Message::Set { from, bytes }) => self.deliver_set(relay, from, &bytes),
            (Who::Mailbox(mailbox), Message::Peer { from, frame }) => {
                self.note(to, 5, frame.as_bytes().len());
                self.deliver_to_mailbox(mailbox, from, &frame);
            }
            (Who::Authority(authority), Message::Council { from, message }) => {
                self.note(to, 2, message.encode().len());
                self.deliver_to_authority(authority, from, message);
            }
            (Who::Authority(authority), Message::Errand { from, number, messages }) => {
                self.deliver_errand(authority, from, number, &messages);
            }
            (_, Message::Told { number, answers }) => self.deliver_answers(to, number, answers),
            (who, _) => unreachable!("{who:?} is sent nothing of the kind"),
        }
    }

    fn poll_touched(&mut self) {
        while let Some(who) = self.touched.pop_first() {
            let wake = match who {
                Who::Authority(number) => self.poll_authority(number),
                Who::Relay(number) => self.poll_relay(number),
                Who::Mailbox(number) => self.poll_mailbox(number),
                Who::Client(number) => self.poll_client(number),
            };
            if let Some(before) = self.wakes.insert(who, wake) {
                self.agenda.remove(&(before, who));
            }
            if wake != Timestamp::FAR_FUTURE {
                self.agenda.insert((wake, who));
            }
        }
    }
}

fn network_file(setup: &Setup, members: &[Member]) -> NetworkFile {
    let epoch_ms = setup.params.epoch.as_millis() as u64;
    let phases = u64::from(4 + 2 * relay_steps(setup.faulty));
    let phase_ms = setup.phase.map_or(epoch_ms / 2 / phases, |phase| phase.as_millis() as u64);
    let schedule = Schedule { genesis: GENESIS, epoch_ms, phase_ms };
    schedule.check(setup.faulty).expect("the setup's epochs have room for a round");
    let authority = |member: &Member| {
        let id = member.id;
        NetworkAuthority { id, link_key: LinkKey(id.0), address: ([127, 0, 0, 1], 1).into() }
    };
    NetworkFile {
        name: NAME.into(),
        faulty: setup.faulty,
        schedule,
        authorities: members.iter().map(authority).collect(),
        later: Vec::new(),
        entries: Vec::new(),
        tor: None,
    }
}
