//! A network with one real mix, that of layer 2: before it a generator that plays the mix of layer 1, behind it a sink that
//! plays the mix of layer 3.

use crate::{Result, process::Running};
use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    time::{sleep_until, timeout},
};
use veilpost_daemon::{
    clock::Clock,
    config::NodeConfig,
    identity::{self, NodeKeys},
    keys,
};
use veilpost_link::{Endpoint, FrameReceiver, FrameSender, Limits};
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, Hello},
    primitives::{Secret32, SigningSecret},
    random::{EngineRng, bytes, exponential},
    sphinx::{Delays, Hop, Packet, Route, build},
    time::Epoch,
};
use veilpost_pki::{Descriptor, Document, Params, Role, UnverifiedDocument, signed::sign_view};
use veilpost_tests::fixed::{FixedNetwork, network_file};

const EPOCH: Epoch = Epoch(1);
/// High enough that neither token bucket nor delay queue is what is measured.
const CAPACITY: u32 = 1_000_000;
/// A link that yields nothing for this long has lost what is missing.
const SILENCE: Duration = Duration::from_secs(3);
const ROLES: [(&str, Role); 5] = [
    ("generator", Role::Mix),
    ("subject", Role::Mix),
    ("sink", Role::Mix),
    ("entry", Role::Entry),
    ("mailbox", Role::Mailbox),
];

/// The network in its folder.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    /// The verified document.
    pub document: Document,
    nodes: Vec<(NodeConfig, Descriptor)>,
    /// Where the real mix serves its metrics.
    pub metrics: SocketAddr,
    sink: Endpoint,
}

/// Both ends that we play, with the real mix between them.
#[derive(Debug)]
pub struct Ends {
    sender: FrameSender,
    receiver: FrameReceiver,
    _back: (FrameReceiver, FrameSender, Endpoint),
}

/// What came of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// From the first frame sent to the last one received.
    pub took: Duration,
    /// Packets that arrived.
    pub arrived: usize,
    /// For each packet that was known by its head: time on the way beyond its drawn delay.
    pub added: Vec<Duration>,
}

/// A packet whose way is timed: its first bytes as the sink will see them, the delay that its sender drew, its frame.
#[derive(Clone, Debug)]
pub struct Timed {
    /// First bytes of the packet behind the mix.
    pub head: [u8; 32],
    /// Drawn delay.
    pub delay: Duration,
    /// What goes to the mix.
    pub frame: Frame,
}

impl Bed {
    /// Makes keys and document and opens the sink's socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// In words.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let metrics = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        // All ports are held until all are chosen, so that none is chosen twice.
        let (mut held, mut nodes) = (Vec::new(), Vec::new());
        for (name, role) in ROLES {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let config = NodeConfig {
                data_dir: folder.path().join(name),
                listen: socket.local_addr()?,
                advertise: Vec::new(),
                network: folder.path().join("network.toml"),
                document: Some(folder.path().join("document")),
                metrics: Some(metrics),
                log: "info".into(),
                family: String::new(),
                capacity: CAPACITY,
                onion: false,
                tor_settings: None,
            };
            held.push(socket);
            let descriptor = identity::init(&config, role, EPOCH)?;
            nodes.push((config, descriptor));
        }
        drop(held);
        let document = write_network(folder.path(), &nodes)?;
        let (config, _) = nodes.get(1).ok_or("no subject")?;
        let text = format!(
            "role = \"mix\"\n[node]\ndata_dir = \"subject\"\nlisten = \"{}\"\nnetwork = \"network.toml\"\n\
             document = \"document\"\nmetrics = \"{metrics}\"\nlog = \"warn\"\ncapacity = {CAPACITY}\n",
            config.listen
        );
        fs::write(folder.path().join("config.toml"), text)?;
        let (config, _) = nodes.get(2).ok_or("no sink")?;
        let sink = Endpoint::bind(config.listen, &NodeKeys::load(&config.data_dir)?.link, Limits::default())?;
        Ok(Self { folder, document, nodes, metrics, sink })
    }

    /// Where everything is; removed with the bed.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The real mix's configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// The real mix: its configuration and descriptor.
    ///
    /// # Errors
    /// Never, in a bed that was made.
    pub fn subject(&self) -> Result<&(NodeConfig, Descriptor)> {
        Ok(self.nodes.get(1).ok_or("no subject")?)
    }

    /// The key that unwraps at the real mix.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn secret(&self) -> Result<Secret32> {
        Ok(keys::read(&self.subject()?.0.data_dir.join("sphinx").join(format!("{}.key", EPOCH.0)))?)
    }

    /// A packet as the mix of layer 1 hands it on: next hop the mix of layer 3.
    ///
    /// # Errors
    /// Never, with the keys of a document.
    pub fn packet(&self, rng: &mut EngineRng, delay: Duration) -> Result<Packet> {
        let hop = |at: usize| {
            let (_, descriptor) = self.nodes.get(at)?;
            Some(Hop { address: descriptor.id.0, key: *descriptor.sphinx_keys.first()? })
        };
        // What follows behind the sink is never reached; the format wants five hops.
        let route: Route = [1, 2, 4, 3, 0]
            .map(hop)
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|v| v.try_into().ok())
            .ok_or("a node lacks a key")?;
        let delays: Delays = [delay, Duration::ZERO, Duration::ZERO, Duration::ZERO];
        Ok(build(bytes(rng), &route, &delays, &[7; 64])?)
    }

    /// A delay as senders draw it.
    pub fn draw(&self, rng: &mut EngineRng) -> Duration {
        exponential(rng, self.document.params.hop_delay).min(self.document.params.max_delay())
    }

    /// The frame of a packet.
    ///
    /// # Errors
    /// Never, for a packet.
    pub fn frame(&self, packet: &Packet) -> Result<Frame> {
        Ok(Frame::new(FrameKind::Packet, Flags::for_epoch(self.document.epoch), packet.as_bytes())?)
    }

    /// Starts a program in the real mix's place and opens the links before and behind it.
    ///
    /// # Errors
    /// In words.
    pub async fn start(&self, command: &mut Command) -> Result<(Running, Ends)> {
        let running = Running::start(command)?;
        let (generator, _) = self.nodes.first().ok_or("no generator")?;
        let (config, descriptor) = self.subject()?;
        let endpoint = Endpoint::dialer(&NodeKeys::load(&generator.data_dir)?.link, Limits::default())?;
        let hello = Hello::node(self.document.hash()).to_frame();
        let link = endpoint.dial(config.listen, &descriptor.link_key, hello.clone()).await?;
        let arrival = timeout(Duration::from_secs(20), self.sink.accept()).await?.ok_or("the sink is closed")?;
        let behind = arrival.admit(hello);
        let ends =
            Ends { sender: link.sender, receiver: behind.receiver, _back: (link.receiver, behind.sender, endpoint) };
        Ok((running, ends))
    }
}

fn write_network(folder: &Path, nodes: &[(NodeConfig, Descriptor)]) -> Result<Document> {
    let authority = SigningSecret::from_seed(keys::fresh()?.expose());
    let file = network_file("bench", 0, std::slice::from_ref(&authority));
    let set = file.authority_set()?;
    let descriptors: Vec<_> = nodes.iter().map(|(_, descriptor)| descriptor.clone()).collect();
    let now = Clock::start().now();
    let fixed = FixedNetwork {
        network: set.network(),
        descriptors: &descriptors,
        params: Params::standard(),
        epoch: EPOCH,
        valid_after: now - Duration::from_secs(60),
        valid_for: Duration::from_secs(86_400),
    };
    let signed = sign_view(&fixed.view()?, &[authority]);
    fs::write(folder.join("document"), &signed)?;
    fs::write(folder.join("network.toml"), file.to_text())?;
    Ok(UnverifiedDocument::from_bytes(&signed)?.verify(&set, now)?)
}

impl Ends {
    /// Sends as fast as the mix forwards, with at most `window` packets on the way: always busy, nothing dropped.
    ///
    /// # Errors
    /// If a link is lost.
    pub async fn saturate(&mut self, frames: Vec<Frame>, window: usize) -> Result<Round> {
        let (total, started) = (frames.len(), Instant::now());
        let room = Arc::new(Semaphore::new(window));
        let (sender, places) = (self.sender.clone(), Arc::clone(&room));
        let sending = tokio::spawn(async move {
            for frame in frames {
                let Ok(place) = places.acquire().await else { return };
                place.forget();
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let (mut round, mut batch) = (Round::default(), Vec::new());
        while round.arrived < total {
            batch.clear();
            let Ok(received) = timeout(SILENCE, self.receiver.recv_batch(&mut batch, usize::MAX)).await else { break };
            let count = received?;
            round.arrived += count;
            round.took = started.elapsed();
            room.add_permits(count);
            if count == 0 {
                break;
            }
        }
        sending.abort();
        Ok(round)
    }

    /// Sends at random moments, `rate` packets a second on average, and times each packet's way.
    ///
    /// # Errors
    /// If a link is lost.
    pub async fn pace(&mut self, packets: Vec<Timed>, rate: f64, mut rng: EngineRng) -> Result<Round> {
        let started = Instant::now();
        let (sender, total) = (self.sender.clone(), packets.len());
        let sending = tokio::spawn(async move {
            let mut sent = HashMap::new();
            let mut due = started;
            for packet in packets {
                due += exponential(&mut rng, Duration::from_secs_f64(1.0 / rate));
                // The timer wakes once a millisecond: what became due meanwhile leaves together.
                if due > Instant::now() {
                    sleep_until(due.into()).await;
                }
                sent.insert(packet.head, (Instant::now(), packet.delay));
                if sender.send(packet.frame).await.is_err() {
                    break;
                }
            }
            sent
        });
        let (mut arrivals, mut batch) = (Vec::new(), Vec::new());
        // The longest drawn delay may follow the last packet sent.
        let patience = SILENCE * 5;
        while arrivals.len() < total {
            batch.clear();
            let Ok(received) = timeout(patience, self.receiver.recv_batch(&mut batch, usize::MAX)).await else { break };
            let at = Instant::now();
            if received? == 0 {
                break;
            }
            let head = |frame: &Frame| frame.body().first_chunk::<32>().copied();
            arrivals.extend(batch.iter().filter_map(head).map(|head| (head, at)));
        }
        let sent = sending.await?;
        let added = arrivals.iter().filter_map(|(head, at)| {
            let (from, delay) = sent.get(head)?;
            Some(at.saturating_duration_since(*from).saturating_sub(*delay))
        });
        Ok(Round { took: started.elapsed(), arrived: arrivals.len(), added: added.collect() })
    }
}
