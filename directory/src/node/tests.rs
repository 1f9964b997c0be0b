//! Real authorities over real sockets.

use super::*;
use crate::{Config, tool};
use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use veilpost_daemon::stop::Failure;
use veilpost_link::{Endpoint, Limits, Link, LinkSecret};
use veilpost_packet::{
    frame::{FrameKind, Hello, RecordCutter, RecordJoiner},
    ids::DocumentHash,
    primitives::SigningSecret,
    sphinx::SphinxPublic,
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, NetworkFile, Role, UnverifiedDocument,
    network::NetworkAuthority,
    wire::{DescriptorAnswer, MESSAGE_MAX, Message},
};

const LONG: Duration = Duration::from_secs(40);

struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), Failure>>,
    http: std::net::SocketAddr,
}

struct Town {
    folder: tempfile::TempDir,
    network: NetworkFile,
    running: Vec<Option<Running>>,
}

fn nodes() -> Vec<(SigningSecret, Role)> {
    let roles = [Role::Mix, Role::Mix, Role::Mix, Role::Entry, Role::Mailbox];
    roles.into_iter().enumerate().map(|(n, role)| (SigningSecret::from_seed(&[n as u8 + 1; 32]), role)).collect()
}

/// A node's link key.
fn link(secret: &SigningSecret) -> LinkSecret {
    LinkSecret::from_seed(secret.node_id().0)
}

fn descriptor(secret: &SigningSecret, role: Role, epoch: Epoch) -> Vec<u8> {
    let descriptor = Descriptor {
        id: secret.node_id(),
        epoch,
        role,
        addresses: vec!["127.0.0.1:4000".parse().unwrap()],
        onion: None,
        link_key: link(secret).public(),
        sphinx_keys: (0..13).map(|later| SphinxPublic([(epoch.0 + later) as u8; 32])).collect(),
        software: "test".into(),
        family: String::new(),
        capacity: 1_000,
        fill: 0,
        measured: Vec::new(),
    };
    descriptor.sign(secret)
}

impl Town {
    /// Four authorities whose first epoch begins in a few seconds.
    fn found() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes: String = nodes()
            .iter()
            .map(|(secret, role)| format!("[[node]]\nid = \"{}\"\nrole = \"{role}\"\n", secret.node_id()))
            .collect();
        let mut files = Vec::new();
        for number in 0..4 {
            let place = folder.path().join(number.to_string());
            std::fs::create_dir(&place).unwrap();
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let text = format!(
                "data_dir = \"data\"\nlisten = \"{port}\"\nnetwork = \"../network.toml\"\nnodes = \"../nodes.toml\"\n\
                 http = \"127.0.0.1:0\"\n"
            );
            std::fs::write(place.join("authority.toml"), text).unwrap();
            tool::init(&Config::load(&place.join("authority.toml")).unwrap()).unwrap();
            files.push(place.join("data/authority.toml"));
        }
        std::fs::write(folder.path().join("nodes.toml"), nodes).unwrap();
        let new = tool::NewNetwork {
            name: "town",
            authorities: &files,
            faulty: 1,
            epoch: Duration::from_secs(6),
            phase: Duration::from_millis(400),
            starts_in: Duration::from_secs(6),
        };
        let network = new.file().unwrap();
        std::fs::write(folder.path().join("network.toml"), network.to_text()).unwrap();
        Self { folder, network, running: (0..4).map(|_| None).collect() }
    }

    fn config(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string()).join("authority.toml")
    }

    async fn start(&mut self, number: usize) {
        let node = Node::start(Config::load(&self.config(number)).unwrap()).await.unwrap();
        let http = node.http_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(node.run(async move { drop(stopped.await) }));
        self.running[number] = Some(Running { stop, task, http });
    }

    async fn stop(&mut self, number: usize) {
        let running = self.running[number].take().unwrap();
        running.stop.send(()).unwrap();
        timeout(LONG, running.task).await.unwrap().unwrap().unwrap();
    }

    fn set(&self) -> AuthoritySet {
        self.network.authority_set().unwrap()
    }

    /// Nodes publish to every authority that runs, for whatever epoch is taken, until an authority has a document of `epoch`.
    async fn run_to(&self, at: usize, epoch: u64) -> Document {
        let clock = veilpost_daemon::clock::Clock::start();
        let set = self.set();
        let deadline = clock.now() + LONG;
        let mut published = Epoch(0);
        loop {
            assert!(clock.now() < deadline, "no document of epoch {epoch}");
            let target = self.network.schedule.descriptors_for(clock.now(), 1);
            if target > published {
                published = target;
                let mut telling = tokio::task::JoinSet::new();
                for number in (0..4).filter(|number| self.running[*number].is_some()) {
                    for (secret, role) in nodes() {
                        let authority = self.network.authorities[number].clone();
                        let told = Message::Descriptor(descriptor(&secret, role, target).into());
                        telling.spawn(async move { ask(&link(&secret), &authority, &[told], 1).await });
                    }
                }
                while let Some(answers) = telling.join_next().await {
                    // On a machine that is busy enough some come after the vote: the next epoch has them again.
                    let [Message::Answer(DescriptorAnswer::Taken | DescriptorAnswer::Late)] = answers.unwrap()[..]
                    else {
                        panic!("a node of the list is refused");
                    };
                }
            }
            let answers =
                ask(&stranger(), &self.network.authorities[at], &[Message::WantDocument(Epoch(epoch - 1))], 1).await;
            if let Some(Message::Document(bytes)) = answers.first() {
                return UnverifiedDocument::from_bytes(bytes).unwrap().verify_timelessly(&set).unwrap();
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The link key of nobody.
fn stranger() -> LinkSecret {
    LinkSecret::from_seed([98; 32])
}

/// Sends messages as a node does and returns the first answers.
async fn ask(link: &LinkSecret, authority: &NetworkAuthority, messages: &[Message], count: usize) -> Vec<Message> {
    let endpoint = Endpoint::dialer(link, Limits::default()).unwrap();
    let hello = Hello::node(DocumentHash::default()).to_frame();
    let Link { sender, mut receiver, .. } = endpoint.dial(authority.address, &authority.link_key, hello).await.unwrap();
    let mut cutter = RecordCutter::default();
    messages.iter().for_each(|message| cutter.push(Arc::from(message.encode())));
    while let Some(frame) = cutter.next_frame(FrameKind::Document) {
        sender.send(frame).await.unwrap();
    }
    let mut joiner = RecordJoiner::new(MESSAGE_MAX);
    let mut answers = Vec::new();
    while answers.len() < count {
        let frame = timeout(LONG, receiver.recv()).await.unwrap().unwrap().unwrap();
        answers.extend(joiner.push(frame.body()).unwrap().iter().map(|record| Message::decode(record).unwrap()));
    }
    endpoint.close(Duration::from_secs(1)).await;
    answers
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_authorities_vote_lose_one_and_take_it_back() {
    let mut town = Town::found();
    for number in 0..4 {
        town.start(number).await;
    }
    let first = town.run_to(0, 1).await;
    assert_eq!(
        (first.layers.iter().map(Vec::len).sum::<usize>(), first.entries.len(), first.mailboxes.len()),
        (3, 1, 1)
    );
    town.stop(3).await;
    let second = town.run_to(1, 2).await;
    assert!(second.epoch > first.epoch);
    let page = get(town.running[0].as_ref().unwrap().http, "/").await;
    assert!(page.contains("1 of 3 other authorities cannot be reached") && page.contains("mix, layer"), "{page}");
    town.start(3).await;
    let third = town.run_to(3, second.epoch.0 + 1).await;
    assert!(third.epoch > second.epoch);
    assert_eq!(third.memory.equivocators, []);
    let status = get(town.running[3].as_ref().unwrap().http, "/status.json").await;
    assert!(status.contains("\"liars\":[]") && status.contains("\"network\":\"town\""), "{status}");
    for number in 0..4 {
        town.stop(number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_answered_in_their_place() {
    let mut town = Town::found();
    town.start(0).await;
    let authority = town.network.authorities[0].clone();
    let clock = veilpost_daemon::clock::Clock::start();
    let target = town.network.schedule.descriptors_for(clock.now(), 1);
    let unknown = SigningSecret::from_seed(&[99; 32]);
    let known = &nodes()[0];
    for (by, bytes, expected) in [
        (&unknown, descriptor(&unknown, Role::Mix, target), DescriptorAnswer::NotAdmitted),
        (&known.0, descriptor(&known.0, Role::Entry, target), DescriptorAnswer::NotAdmitted),
        (&known.0, descriptor(&known.0, known.1, Epoch(target.0 + 3)), DescriptorAnswer::Early),
        (&known.0, descriptor(&known.0, known.1, Epoch(target.0 - 1)), DescriptorAnswer::Late),
        (&unknown, descriptor(&known.0, known.1, target), DescriptorAnswer::OtherLink),
        (&known.0, vec![1; 300], DescriptorAnswer::Malformed),
    ] {
        let answers = ask(&link(by), &authority, &[Message::Descriptor(bytes.into())], 1).await;
        assert_eq!(answers, [Message::Answer(expected)]);
    }
    let none = ask(&stranger(), &authority, &[Message::WantDocument(Epoch(0))], 1).await;
    assert_eq!(none, [Message::Newest(Epoch(0))]);
    let page = get(town.running[0].as_ref().unwrap().http, "/document").await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    town.stop(0).await;
}

#[tokio::test]
async fn an_authority_that_its_network_does_not_list_says_so() {
    let town = Town::found();
    let mut network = town.network.clone();
    network.authorities.remove(0);
    network.faulty = 0;
    std::fs::write(town.folder.path().join("network.toml"), network.to_text()).unwrap();
    let own = Config::load(&town.config(0)).unwrap();
    let listed =
        |at: usize| network.authorities.iter().any(|authority| authority.id == town.network.authorities[at].id);
    assert!(!listed(0));
    let error = tool::check(&own).unwrap_err().to_string();
    assert!(error.contains("does not list this authority"), "{error}");
    assert!(tool::check(&Config::load(&town.config(1)).unwrap()).is_ok());
    assert!(Path::new(&town.config(1)).exists());
}
