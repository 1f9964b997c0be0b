//! Real relays over real sockets on loopback; the test plays all other nodes and the client.

use super::{Config, Node, init};
use crate::testing::{self, EPOCH, identity, signed, sphinx, view};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use veilpost_daemon::{clock::Clock, config::NodeConfig, identity::NodeKeys, stop::Failure};
use veilpost_link::{DialError, Endpoint, Limits, Link, LinkSecret};
use veilpost_packet::{
    digest::{Digest, DigestHash},
    frame::{Flags, Frame, FrameKind, Hello, RecordCutter, RecordJoiner, Want},
    geometry::{DIGEST_MAX, DOCUMENT_MAX},
    ids::{District, DocumentHash, LinkKey, NetworkId, NodeId, SessionAddress},
    puzzle::SessionAsk,
    sphinx::{Hop, Packet, Unwrapped, build, unwrap},
    time::{Epoch, Tick, Timestamp},
};
use veilpost_pki::{Descriptor, NetworkFile, Params, Relay, Role, Schedule, View, network::NetworkAuthority};

mod epochs;

const LONG: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn link_secret(seed: u8) -> LinkSecret {
    LinkSecret::from_seed([seed; 32])
}

/// A network in a folder with one real relay in it.
struct World {
    folder: tempfile::TempDir,
    config: Config,
    own: Descriptor,
    /// Which node of the test network the relay is.
    seed: u8,
    /// The content of the document.
    view: View,
    /// Plays the nodes that the relay dials.
    next: Vec<(u8, Endpoint)>,
    params: Params,
    network: NetworkId,
    hash: DocumentHash,
}

impl World {
    /// The relay takes the place of the node `seed` of the test network.
    fn new(role: Role, seed: u8, dialed: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let node = NodeConfig {
            data_dir: path("data"),
            listen: loopback(),
            advertise: vec!["127.0.0.1:9".parse().unwrap()],
            network: path("network.toml"),
            document: Some(path("document")),
            metrics: Some(loopback()),
            log: "info".into(),
            family: String::new(),
            capacity: 1_000,
            onion: false,
            tor_settings: None,
        };
        let config = Config { role, sessions: 64, node };
        init(&config, EPOCH.0).unwrap();
        let own = Descriptor::verify(&std::fs::read(path("data/descriptor")).unwrap()).unwrap();

        let bind = |&seed: &u8| (seed, Endpoint::bind(loopback(), &link_secret(seed), Limits::default()).unwrap());
        let next: Vec<_> = dialed.iter().map(bind).collect();
        let now = Clock::start().now();
        // One node is looked at, so that what leaves is what the test sent.
        let mut view = view(now, Params { node_loop_gap: Duration::from_secs(3_600), ..Params::hurried(8) });
        let lists = view.layers.iter_mut().chain([&mut view.entries, &mut view.mailboxes]);
        for (relay, seed) in lists.flatten().zip(seeds()) {
            let address = next.iter().find(|(played, _)| *played == seed).map(|(_, end)| end.local_addr().unwrap());
            *relay = testing::relay(seed, address, link_secret(seed).public());
        }
        let of_seed = |relay: &&mut Relay| relay.id == testing::id(seed);
        let lists = view.layers.iter_mut().chain([&mut view.entries]);
        *lists.flatten().find(of_seed).unwrap() = listed(&own, seed, 0);
        let network = NetworkFile {
            name: testing::NETWORK.into(),
            faulty: 0,
            schedule: Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 },
            authorities: vec![NetworkAuthority {
                id: testing::authority().authority_id(),
                link_key: veilpost_packet::ids::LinkKey([99; 32]),
                address: ([127, 0, 0, 1], 9).into(),
            }],
            later: Vec::new(),
            entries: Vec::new(),
            tor: None,
        };
        std::fs::write(path("network.toml"), network.to_text()).unwrap();
        std::fs::write(path("document"), signed(&view)).unwrap();
        let hash = testing::verified(&view, now).hash();
        Self { config, own, seed, next, params: view.params.clone(), network: view.network, view, hash, folder }
    }

    /// The document of the epoch `later` epochs behind [`EPOCH`], which begins `after` from now.
    fn later(&self, later: u64, after: Duration) -> View {
        let mut view = self.view.clone();
        view.epoch = Epoch(EPOCH.0 + later);
        view.valid_after = Clock::start().now() + after;
        view.valid_until = view.valid_after + view.params.epoch * 3;
        let lists = view.layers.iter_mut().chain([&mut view.entries]).flatten();
        for relay in lists.filter(|relay| relay.id == self.own.id) {
            *relay = listed(&self.own, self.seed, later as usize);
        }
        view
    }

    fn publish(&self, view: &View) {
        // As a whole, as whoever brings documents does.
        let partial = self.folder.path().join("document.partial");
        std::fs::write(&partial, signed(view)).unwrap();
        std::fs::rename(partial, self.config.node.document.as_ref().unwrap()).unwrap();
    }

    async fn start(&self) -> Running {
        let node = Node::start(self.config.clone()).await.unwrap();
        let (address, metrics) = (node.local_addr().unwrap(), node.metrics_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(node.run(async {
            let _ = stopped.await;
        }));
        Running { address, metrics, stop, task }
    }

    fn own_hop(&self) -> Hop {
        Hop { address: self.own.id.0, key: self.own.sphinx_keys[0] }
    }

    /// A link to the relay as the node `seed`.
    async fn dial(&self, running: &Running, seed: u8) -> Result<Link, DialError> {
        let endpoint = Endpoint::dialer(&link_secret(seed), Limits::default()).unwrap();
        let link = endpoint.dial(running.address, &self.own.link_key, Hello::node(self.hash).to_frame()).await;
        // The link ends with its endpoint, which lives as long as the test this way.
        std::mem::forget(endpoint);
        link
    }
}

/// The relay as a document lists it with the key of the epoch `later` epochs behind [`EPOCH`].
fn listed(own: &Descriptor, seed: u8, later: usize) -> Relay {
    Relay {
        id: own.id,
        link_key: own.link_key,
        sphinx_key: own.sphinx_keys[later],
        next_sphinx_key: own.sphinx_keys[later + 1],
        ..testing::relay(seed, None, LinkKey([0; 32]))
    }
}

/// The seeds in the order in which a document lists its relays.
fn seeds() -> impl Iterator<Item = u8> {
    (1..=5).flat_map(|seed| [seed, seed + 10])
}

struct Running {
    address: SocketAddr,
    metrics: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Failure>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Waits until a metric has a value.
    async fn wait_for(&self, line: &str) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut page = String::new();
        for _ in 0..500 {
            let mut stream = tokio::net::TcpStream::connect(self.metrics).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            page.clear();
            stream.read_to_string(&mut page).await.unwrap();
            if page.lines().any(|found| found == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{line} never came: {page}");
    }
}

fn hop(seed: u8) -> Hop {
    Hop { address: testing::id(seed).0, key: sphinx(seed).public() }
}

fn forward(packet: &Packet, seed: u8) -> (NodeId, Packet) {
    match unwrap(&sphinx(seed), packet).unwrap() {
        Unwrapped::Forward { next, packet, .. } => (NodeId(next), packet),
        Unwrapped::Deliver { .. } => panic!("the route goes on"),
    }
}

fn packet_frame(packet: &Packet) -> Frame {
    Frame::new(FrameKind::Packet, Flags::for_epoch(EPOCH), packet.as_bytes()).unwrap()
}

async fn accept(endpoint: &Endpoint) -> Link {
    let arrival = timeout(LONG, endpoint.accept()).await.unwrap().unwrap();
    arrival.admit(Hello::node(DocumentHash::default()).to_frame())
}

async fn next_packet(link: &mut Link) -> Packet {
    let frame = timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!((frame.kind(), frame.flags()), (FrameKind::Packet, Flags::for_epoch(EPOCH)));
    Packet::from_bytes(frame.body()).unwrap()
}

/// A packet for a relay in layer 2, as layer 1 hands it on.
fn through_layer_two(world: &World, secret: u8) -> Packet {
    let route = [hop(4), hop(1), world.own_hop(), hop(3), hop(5)];
    let packet = build([secret; 32], &route, &[Duration::from_millis(5); 4], b"a command").unwrap();
    forward(&forward(&packet, 4).1, 1).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_forwards_a_packet_and_after_a_restart_refuses_it() {
    let world = World::new(Role::Mix, 2, &[3, 13]);
    let running = world.start().await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    let (first, second) = (through_layer_two(&world, 1), through_layer_two(&world, 2));
    layer_one.sender.try_send(packet_frame(&first)).unwrap();
    let (_, layer_three) = &world.next[0];
    let mut link = accept(layer_three).await;
    let arrived = next_packet(&mut link).await;
    assert_eq!(forward(&arrived, 3).0, testing::id(5));
    layer_one.sender.try_send(packet_frame(&first)).unwrap();
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"replay\"} 1").await;
    drop((layer_one, link));
    running.stop().await;

    let running = world.start().await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    layer_one.sender.try_send(packet_frame(&first)).unwrap();
    layer_one.sender.try_send(packet_frame(&second)).unwrap();
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"replay\"} 1").await;
    let mut link = accept(layer_three).await;
    assert!(next_packet(&mut link).await != arrived, "the replayed packet left");
    running.wait_for("veilpost_mixnode_forwarded_total 1").await;
    drop((layer_one, link));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_refuses_links_that_have_no_business_with_it() {
    let world = World::new(Role::Mix, 2, &[]);
    let running = world.start().await;
    // Layer 3, an entry, a mailbox, a client.
    for seed in [3, 4, 5, 99] {
        assert_eq!(world.dial(&running, seed).await.unwrap_err(), DialError::Refused, "{seed}");
    }
    assert!(world.dial(&running, 11).await.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_dropped_and_counted_and_the_link_goes_on() {
    let world = World::new(Role::Mix, 2, &[3]);
    let running = world.start().await;
    let layer_one = world.dial(&running, 1).await.unwrap();
    let garbage = Packet::from_bytes(&[3; veilpost_packet::geometry::PACKET]).unwrap();
    let zero = Packet::from_bytes(&[0; veilpost_packet::geometry::PACKET]).unwrap();
    let good = through_layer_two(&world, 1);
    let other_epoch = Frame::new(FrameKind::Packet, Flags::for_epoch(Epoch(EPOCH.0 + 1)), good.as_bytes()).unwrap();
    for frame in [packet_frame(&garbage), packet_frame(&zero), other_epoch, Frame::dummy(), packet_frame(&good)] {
        layer_one.sender.try_send(frame).unwrap();
    }
    let mut link = accept(&world.next[0].1).await;
    next_packet(&mut link).await;
    for reason in ["mac", "zero_secret", "epoch", "kind"] {
        running.wait_for(&format!("veilpost_mixnode_dropped_total{{reason=\"{reason}\"}} 1")).await;
    }
    running.stop().await;
}

fn digest(world: &World, tick: Tick) -> Vec<u8> {
    let digest = Digest {
        network: world.network,
        document: world.hash,
        mailbox: testing::id(5),
        district: District(0),
        tick,
        previous: DigestHash::default(),
        tags: Vec::new(),
    };
    digest.sign(&identity(5)).as_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_fills_up_asks_newcomers_to_work_and_ends_their_link() {
    let mut world = World::new(Role::Entry, 4, &[]);
    world.config.sessions = 2;
    let running = world.start().await;
    let client = Endpoint::anonymous_dialer(Limits::default()).unwrap();
    let come = async |hello: &Hello| client.dial(running.address, &world.own.link_key, hello.to_frame()).await.unwrap();
    let hello = |number| Hello::client(SessionAddress([number; 32]), DocumentHash::default());
    let first = come(&hello(1)).await;
    assert_eq!(Hello::decode(first.hello.body()).unwrap().puzzle, [0; 32], "the first is asked nothing");
    let mut asked = come(&hello(2)).await;
    let ask = SessionAsk::from_room(&Hello::decode(asked.hello.body()).unwrap().puzzle).unwrap();
    assert!(timeout(LONG, asked.receiver.recv()).await.unwrap().map_or(true, |frame| frame.is_none()), "no downlink");
    let address = hello(2).session.unwrap();
    let puzzle = ask.puzzle(&world.network, &world.own.id, &address).solve().unwrap();
    let mut paid = come(&Hello { puzzle, ..hello(2) }).await;
    assert_eq!(Hello::decode(paid.hello.body()).unwrap(), Hello::node(world.hash));
    assert!(timeout(LONG, paid.receiver.recv()).await.unwrap().unwrap().is_some(), "its downlink runs");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_serves_a_client_document_digests_and_replies_and_forwards_its_packets() {
    let world = World::new(Role::Entry, 4, &[1]);
    let running = world.start().await;
    let session = SessionAddress([77; 32]);
    let hello = Hello::client(session, DocumentHash::default()).to_frame();
    let client = Endpoint::anonymous_dialer(Limits::default()).unwrap();
    let mut link = client.dial(running.address, &world.own.link_key, hello.clone()).await.unwrap();
    assert_eq!(Hello::decode(link.hello.body()).unwrap(), Hello::node(world.hash));
    let taken = client.dial(running.address, &world.own.link_key, hello).await;
    assert_eq!(taken.unwrap_err(), DialError::Refused, "the session address is in use");

    // Up: client, entry, layer 1.
    let route = [world.own_hop(), hop(1), hop(2), hop(3), hop(5)];
    let up = build([1; 32], &route, &[Duration::from_millis(5); 4], b"a command").unwrap();
    link.sender.try_send(packet_frame(&up)).unwrap();
    let mut layer_one = accept(&world.next[0].1).await;
    assert_eq!(forward(&next_packet(&mut layer_one).await, 1).0, testing::id(2));

    // Down: layer 3, entry, session.
    let last = Hop { address: session.0, key: sphinx(78).public() };
    let route = [hop(1), hop(2), hop(3), world.own_hop(), last];
    let mut down = build([2; 32], &route, &[Duration::from_millis(5); 4], b"a reply").unwrap();
    for seed in 1..=3 {
        down = forward(&down, seed).1;
    }
    let layer_three = world.dial(&running, 3).await.unwrap();
    layer_three.sender.try_send(packet_frame(&down)).unwrap();

    // A mailbox is asked for its history and relayed.
    let mut mailbox = world.dial(&running, 5).await.unwrap();
    let want = timeout(LONG, mailbox.receiver.recv()).await.unwrap().unwrap().unwrap();
    let want = Want::decode(want.body()).unwrap();
    assert_eq!((want.mailbox, want.count), (testing::id(5), u32::MAX));
    let tick = Tick::at(Clock::start().now(), world.params.tick);
    let published = digest(&world, tick);
    let mut cutter = RecordCutter::default();
    cutter.push(published.clone().into());
    mailbox.sender.try_send(packet_frame(&up)).unwrap();
    mailbox.sender.try_send(cutter.next_frame(FrameKind::Digest).unwrap()).unwrap();
    running.wait_for("veilpost_mixnode_dropped_total{reason=\"kind\"} 1").await;

    let (mut documents, mut digests, mut reply, mut dummies) = (Vec::new(), Vec::new(), None, 0);
    let (mut document_stream, mut digest_stream) = (RecordJoiner::new(DOCUMENT_MAX), RecordJoiner::new(DIGEST_MAX));
    while documents.is_empty() || digests.is_empty() || reply.is_none() || dummies == 0 {
        assert!(dummies < 2_000, "{} {} {reply:?}", documents.len(), digests.len());
        let frame = timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap();
        match frame.kind() {
            FrameKind::Document => documents.extend(document_stream.push(frame.body()).unwrap()),
            FrameKind::Digest => digests.extend(digest_stream.push(frame.body()).unwrap()),
            FrameKind::Packet => reply = Some(Packet::from_bytes(frame.body()).unwrap()),
            FrameKind::Dummy => dummies += 1,
            kind => panic!("{kind:?} on a downlink"),
        }
    }
    assert_eq!(documents, [std::fs::read(world.config.node.document.as_ref().unwrap()).unwrap()]);
    assert_eq!(digests, std::slice::from_ref(&published));
    assert!(matches!(unwrap(&sphinx(78), &reply.unwrap()), Ok(Unwrapped::Deliver { .. })));

    // A Want brings the same digest again.
    link.sender.try_send(Want::digests(testing::id(5), tick, 1).to_frame()).unwrap();
    let mut frames = 0;
    let again = loop {
        frames += 1;
        assert!(frames < 2_000, "the wanted digest does not come");
        let frame = timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap();
        if frame.kind() == FrameKind::Digest {
            break digest_stream.push(frame.body()).unwrap();
        }
    };
    assert_eq!(again, [published]);
    running.wait_for("veilpost_mixnode_sessions 1").await;
    drop(link);
    running.wait_for("veilpost_mixnode_sessions 0").await;
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_the_document_lists_otherwise_or_not_at_all_waits_and_takes_nothing() {
    let mut world = World::new(Role::Mix, 2, &[]);
    let document = std::fs::read(world.config.node.document.as_ref().unwrap()).unwrap();
    for what in ["role", "link key", "no document"] {
        match what {
            "role" => world.config.role = Role::Entry,
            "link key" => {
                world.config.role = Role::Mix;
                std::fs::remove_file(world.folder.path().join("data/link.key")).unwrap();
                init(&world.config, EPOCH.0).unwrap();
                world.own.link_key = NodeKeys::load(&world.config.node.data_dir).unwrap().link_key();
            }
            _ => {
                std::fs::remove_file(world.config.node.document.as_ref().unwrap()).unwrap();
                std::fs::remove_dir_all(world.config.node.data_dir.join("documents")).unwrap();
            }
        }
        let running = world.start().await;
        running.wait_for("veilpost_mixnode_relaying 0").await;
        assert_eq!(world.dial(&running, 1).await.unwrap_err(), DialError::Refused, "{what}");
        running.stop().await;
    }
    // One without a document begins to relay when it comes, here with a list that has the old link key: it waits on.
    let running = world.start().await;
    std::fs::write(world.config.node.document.as_ref().unwrap(), document).unwrap();
    running.wait_for("veilpost_mixnode_documents 1").await;
    running.wait_for("veilpost_mixnode_relaying 0").await;
    running.stop().await;
}

#[tokio::test]
async fn a_document_of_strangers_is_refused() {
    let world = World::new(Role::Mix, 2, &[]);
    let now: Timestamp = Clock::start().now();
    let mut bytes = signed(&view(now, Params::standard()));
    // The last byte of the last signature; behind it stands the number of hand-overs.
    *bytes.iter_mut().nth_back(1).unwrap() ^= 1;
    std::fs::write(world.config.node.document.as_ref().unwrap(), bytes).unwrap();
    let error = Node::start(world.config.clone()).await.err().unwrap();
    assert!(matches!(&error, Failure::Config(text) if text.contains("signatures")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_do_not_share_one_data_folder() {
    let world = World::new(Role::Mix, 2, &[]);
    let running = world.start().await;
    let error = Node::start(world.config.clone()).await.err().unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    running.stop().await;
}

#[test]
fn a_mailboxs_configuration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let path: &Path = &folder.path().join("node.toml");
        std::fs::write(path, text).unwrap();
        Config::load(path)
    };
    let node = "[node]\ndata_dir = \"d\"\nlisten = \"127.0.0.1:4001\"\nnetwork = \"n\"\ndocument = \"d\"\n";
    assert!(write(&format!("role = \"mix\"\n{node}")).is_ok());
    let error = write(&format!("role = \"mailbox\"\n{node}")).unwrap_err();
    assert!(error.code() == 2 && error.to_string().contains("veilpost-mailbox"), "{error}");
    let error = write(&format!("role = \"mix\"\nlayer = 3\n{node}")).unwrap_err();
    assert!(error.code() == 2 && error.to_string().contains("layer"), "{error}");
}
