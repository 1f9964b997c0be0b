//! A real mailbox over real sockets on loopback; the test plays mixes, entry and client.

use super::{Config, Node, StoreConfig, init};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use veilpost_daemon::{clock::Clock, config::NodeConfig};
use veilpost_link::{Endpoint, Limits, Link, LinkSecret};
use veilpost_packet::{
    command::{Command, Reply},
    digest::SignedDigest,
    frame::{Flags, Frame, FrameKind, Hello, RecordJoiner},
    geometry::DIGEST_MAX,
    ids::{DocumentHash, SurbId},
    primitives::SigningSecret,
    sphinx::SphinxSecret,
    sphinx::{Hop, Packet, Surb, SurbRecovery, Unwrapped, build, unwrap},
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Descriptor, NetworkFile, Params, Relay, UnverifiedDocument, View, document::Placement,
    signed::sign_view,
};

const LONG: Duration = Duration::from_secs(30);
const NETWORK: &str = "a network for mailbox tests";
const EPOCH: Epoch = Epoch(6);
/// How soon the next epoch begins after its document was published: the file is looked at every second.
const SOON: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(2);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn authority() -> SigningSecret {
    SigningSecret::from_seed(&[250; 32])
}

fn authorities() -> AuthoritySet {
    AuthoritySet::new(NETWORK, &[authority().authority_id()], 0).unwrap()
}

fn sphinx(seed: u8) -> SphinxSecret {
    SphinxSecret::from_seed([seed; 32])
}

fn link_secret(seed: u8) -> LinkSecret {
    LinkSecret::from_seed([seed; 32])
}

fn hop(seed: u8) -> Hop {
    Hop { address: SigningSecret::from_seed(&[seed; 32]).node_id().0, key: sphinx(seed).public() }
}

fn relay(seed: u8, address: Option<SocketAddr>) -> Relay {
    Relay {
        id: SigningSecret::from_seed(&[seed; 32]).node_id(),
        addresses: address.into_iter().collect(),
        onion: None,
        link_key: link_secret(seed).public(),
        sphinx_key: sphinx(seed).public(),
        next_sphinx_key: sphinx(seed).public(),
        weight: 1,
        reliability: u8::MAX,
        family: format!("family {seed}"),
    }
}

/// Mixes 1, 2, 3, entry 4, and the real mailbox.
struct World {
    folder: tempfile::TempDir,
    config: Config,
    own: Descriptor,
    first: Endpoint,
    entry: Endpoint,
}

impl World {
    fn new() -> Self {
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
        let config = Config { node, store: StoreConfig { free_disk_floor_mib: 0, ..StoreConfig::default() } };
        init(&config, EPOCH.0).unwrap();
        let own = Descriptor::verify(&std::fs::read(path("data/descriptor")).unwrap()).unwrap();
        let file = NetworkFile {
            name: NETWORK.into(),
            faulty: 0,
            schedule: veilpost_pki::Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 },
            authorities: vec![veilpost_pki::network::NetworkAuthority {
                id: authority().authority_id(),
                link_key: veilpost_packet::ids::LinkKey([99; 32]),
                address: ([127, 0, 0, 1], 9).into(),
            }],
            later: Vec::new(),
            entries: Vec::new(),
            tor: None,
        };
        std::fs::write(path("network.toml"), file.to_text()).unwrap();
        let bind = |seed| Endpoint::bind(loopback(), &link_secret(seed), Limits::default()).unwrap();
        Self { config, own, first: bind(1), entry: bind(4), folder }
    }

    /// The document of the epoch `later` epochs behind [`EPOCH`], which begins `after` from now, on disk; and its hash.
    fn publish(&self, later: u64, after: Duration) -> (View, DocumentHash) {
        let valid_after = Clock::start().now() + after;
        // What leaves is what the test asked for.
        let node_loop_gap = Duration::from_secs(3_600);
        let params = Params { key_grace: GRACE, node_loop_gap, ..Params::hurried(8) };
        let key = self.own.sphinx_keys[later as usize];
        let own = Relay { id: self.own.id, link_key: self.own.link_key, sphinx_key: key, ..relay(5, None) };
        let view = View {
            network: authorities().network(),
            epoch: Epoch(EPOCH.0 + later),
            valid_after,
            valid_until: valid_after + params.epoch * 3,
            params,
            shared_random: [0; 32],
            put_effort: 0,
            layers: vec![
                vec![relay(1, Some(self.first.local_addr().unwrap()))],
                vec![relay(2, None)],
                vec![relay(3, None)],
            ],
            entries: vec![relay(4, Some(self.entry.local_addr().unwrap()))],
            placements: vec![Placement { from: EPOCH, mailboxes: vec![own.id] }],
            memory: veilpost_pki::document::Memory::default(),
            mailboxes: vec![own],
        };
        let bytes = sign_view(&view, &[authority()]);
        let partial = self.folder.path().join("document.partial");
        std::fs::write(&partial, &bytes).unwrap();
        std::fs::rename(partial, self.config.node.document.as_ref().unwrap()).unwrap();
        let document =
            UnverifiedDocument::from_bytes(&bytes).unwrap().verify_early(&authorities(), valid_after).unwrap();
        (view, document.hash())
    }

    /// A Loop of an epoch as layer 3 hands it to the mailbox, and what opens its reply.
    fn ask(&self, later: usize, number: u32) -> (Frame, SurbRecovery) {
        let mut secret = [later as u8 + 1; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let client = Hop { address: [77; 32], key: sphinx(77).public() };
        let id = SurbId::new([1; 16]).unwrap();
        let (surb, recovery) =
            Surb::new(secret, id, &[hop(1), hop(2), hop(3), hop(4), client], &[Duration::ZERO; 4]).unwrap();
        let own = Hop { address: self.own.id.0, key: self.own.sphinx_keys[later] };
        let route = [hop(4), hop(1), hop(2), hop(3), own];
        secret[31] ^= 1;
        let packet = build(secret, &route, &[Duration::ZERO; 4], &Command::Loop.encode(&surb)).unwrap();
        let packet = [4, 1, 2, 3].into_iter().fold(packet, forward);
        let flags = Flags::for_epoch(Epoch(EPOCH.0 + later as u64));
        (Frame::new(FrameKind::Packet, flags, packet.as_bytes()).unwrap(), recovery)
    }
}

fn forward(packet: Packet, seed: u8) -> Packet {
    match unwrap(&sphinx(seed), &packet).unwrap() {
        Unwrapped::Forward { packet, .. } => packet,
        Unwrapped::Deliver { .. } => panic!("the route goes on"),
    }
}

async fn accept(endpoint: &Endpoint) -> Link {
    let arrival = timeout(LONG, endpoint.accept()).await.unwrap().unwrap();
    arrival.admit(Hello::node(DocumentHash::default()).to_frame())
}

/// Waits until a metric has a value.
async fn wait_for(metrics: SocketAddr, line: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut page = String::new();
    for _ in 0..500 {
        let mut stream = tokio::net::TcpStream::connect(metrics).await.unwrap();
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

/// The document that the next digest names.
async fn next_digest(entry: &mut Link, joiner: &mut RecordJoiner) -> DocumentHash {
    loop {
        let frame = timeout(LONG, entry.receiver.recv()).await.unwrap().unwrap().unwrap();
        if let Some(record) = joiner.push(frame.body()).unwrap().pop() {
            return SignedDigest::verify(&record).unwrap().digest().document;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_waits_for_a_document_and_serves_over_a_change_of_epochs_without_a_loss() {
    let world = World::new();
    let node = Node::start(world.config.clone()).await.unwrap();
    let (address, metrics) = (node.local_addr().unwrap(), node.metrics_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(node.run(async {
        let _ = stopped.await;
    }));
    wait_for(metrics, "veilpost_mailbox_relaying 0").await;
    let (_, first) = world.publish(0, Duration::ZERO);
    wait_for(metrics, "veilpost_mailbox_relaying 1").await;
    let mut layer_one = accept(&world.first).await;
    let (mut entry, mut joiner) = (accept(&world.entry).await, RecordJoiner::new(DIGEST_MAX));
    assert_eq!(next_digest(&mut entry, &mut joiner).await, first);
    let dialer = Endpoint::dialer(&link_secret(3), Limits::default()).unwrap();
    let layer_three = dialer.dial(address, &world.own.link_key, Hello::node(first).to_frame()).await.unwrap();

    let (view, second) = world.publish(1, SOON);
    wait_for(metrics, "veilpost_mailbox_live_keys 2").await;
    let mut asked = [Vec::new(), Vec::new()];
    while Clock::start().now() < view.valid_after + GRACE / 2 {
        for later in [0, 1] {
            let (frame, recovery) = world.ask(later, asked[later].len() as u32);
            layer_three.sender.send(frame).await.unwrap();
            asked[later].push(recovery);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answered = [0, 0];
    for _ in 0..asked[0].len() + asked[1].len() {
        let frame = timeout(LONG, layer_one.receiver.recv()).await.unwrap().unwrap().unwrap();
        let later = usize::from(frame.flags() == Flags::for_epoch(Epoch(EPOCH.0 + 1)));
        let packet = [1, 2, 3, 4].into_iter().fold(Packet::from_bytes(frame.body()).unwrap(), forward);
        let Unwrapped::Deliver { payload, .. } = unwrap(&sphinx(77), &packet).unwrap() else { panic!("the last hop") };
        let reply = asked[later].iter().find_map(|recovery| Reply::decode(&recovery.open(&payload)?).ok()).unwrap();
        assert_eq!(reply.document, [first, second][later], "of the packet's epoch");
        answered[later] += 1;
    }
    assert_eq!(answered, [asked[0].len(), asked[1].len()]);
    while next_digest(&mut entry, &mut joiner).await != second {}

    wait_for(metrics, "veilpost_mailbox_live_keys 1").await;
    assert!(!world.config.node.data_dir.join(format!("sphinx/{}.key", EPOCH.0)).exists());
    layer_three.sender.send(world.ask(0, 9_999).0).await.unwrap();
    wait_for(metrics, "veilpost_mailbox_dropped_total{word=\"epoch\"} 1").await;
    stop.send(()).unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}
