//! A Veilpost network of real processes on loopback, one folder each.
//!
//! ```text
//! DIR/network.toml, DIR/document      what clients and nodes start from
//! DIR/authority-N.key                 secret keys of the authorities
//! DIR/NODE/config.toml, data/, pid, log
//! ```

use crate::fixed::{FixedNetwork, network_file};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use veilpost_daemon::{
    clock::Clock,
    config::{self, NodeConfig},
    identity, keys,
};
use veilpost_packet::{geometry::MIX_LAYERS, primitives::SigningSecret, time::Epoch};
use veilpost_pki::{Params, Role, network::BootstrapEntry, signed::sign_view};

/// How much faster `--fast` runs.
pub const FAST: u32 = 8;
/// How much faster its clients' own waits run, for receipts, late hits, repeats and the like: those are minutes long in a real
/// network, cost no packets, and would be most of what a test waits for.
pub const HURRY: u32 = 24;
/// Nodes of a test network at most.
const NODES_MAX: usize = 200;
/// How long a node may take to say `ready`.
const READY: Duration = Duration::from_secs(30);
/// How long a node may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(15);
/// Days that the document of a test network is valid.
const VALID_DAYS: u32 = 30;

/// Anything that goes wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// Result of the tool's steps.
pub type Result<T> = std::result::Result<T, Error>;

/// What a test network is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Authorities that sign the document.
    pub authorities: usize,
    /// Mixes per layer.
    pub width: usize,
    /// Entries.
    pub entries: usize,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Divides all means and periods by [`FAST`], and the clients' own waits by [`HURRY`].
    pub fast: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { authorities: 4, width: 2, entries: 2, mailboxes: 3, fast: false }
    }
}

/// A node of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// `mix-LAYER-NUMBER`, `entry-NUMBER`, `mailbox-NUMBER`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
}

#[derive(Serialize, Deserialize)]
struct State {
    nodes: Vec<Node>,
}

/// A network in its folder.
#[derive(Debug)]
pub struct Testnet {
    folder: PathBuf,
    nodes: Vec<Node>,
}

impl Testnet {
    /// Makes the network and starts all of its nodes. When it returns, every node accepts links.
    ///
    /// # Errors
    /// In words; nodes that were started are stopped again.
    pub fn up(folder: &Path, shape: &Shape) -> Result<Self> {
        if folder.join(STATE).exists() {
            return Err(format!("{} holds a network already; take it down first", folder.display()).into());
        }
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let nodes = choose_nodes(shape)?;
        make_network(&folder, shape, &nodes)?;
        fs::write(folder.join(STATE), toml::to_string(&State { nodes: nodes.clone() })?)?;
        let network = Self { folder, nodes };
        for name in network.names() {
            if let Err(error) = network.spawn(&name) {
                network.stop_all();
                return Err(error);
            }
        }
        for name in network.names() {
            if let Err(error) = network.wait_ready(&name) {
                network.stop_all();
                return Err(error);
            }
        }
        Ok(network)
    }

    /// A network that `up` made.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(folder.join(STATE));
        let text = text.map_err(|_| format!("{} holds no test network", folder.display()))?;
        let State { nodes } = toml::from_str(&text)?;
        Ok(Self { folder: folder.canonicalize()?, nodes })
    }

    /// Stops all nodes and forgets the network; logs and data stay.
    ///
    /// # Errors
    /// What the disk says.
    pub fn down(self) -> Result<()> {
        self.stop_all();
        Ok(fs::remove_file(self.folder.join(STATE))?)
    }

    /// The file that clients start from.
    pub fn network_file(&self) -> PathBuf {
        self.folder.join("network.toml")
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn node(&self, name: &str) -> Result<&Node> {
        let known = self.nodes.iter().find(|node| node.name == name);
        known.ok_or_else(|| format!("there is no node {name}; `list` shows them").into())
    }

    /// The process of a node, if it runs.
    pub fn pid(&self, name: &str) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join(name).join("pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        test_kill_process(pid).is_ok().then_some(pid)
    }

    /// Sends a signal to a node; KILL and TERM are waited for.
    ///
    /// # Errors
    /// If there is no such node or it does not run.
    pub fn kill(&self, name: &str, signal: Signal) -> Result<()> {
        self.node(name)?;
        let pid = self.pid(name).ok_or_else(|| format!("{name} is not running"))?;
        kill_process(pid, signal)?;
        if signal == Signal::KILL || signal == Signal::TERM {
            self.wait_gone(name);
        }
        Ok(())
    }

    /// Starts a node that is down, and waits until it is ready.
    ///
    /// # Errors
    /// If it runs already or does not come up.
    pub fn start(&self, name: &str) -> Result<()> {
        self.node(name)?;
        if self.pid(name).is_some() {
            return Err(format!("{name} is running already").into());
        }
        self.spawn(name)?;
        self.wait_ready(name)
    }

    fn spawn(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        let program =
            program(if self.node(name)?.role == Role::Mailbox { "veilpost-mailbox" } else { "veilpost-mixnode" })?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        let out = fs::File::create(folder.join("out"))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(folder.join("config.toml"));
        let command = command.stdin(Stdio::null()).stdout(out).stderr(log).process_group(0);
        let child = command.spawn()?;
        fs::write(folder.join("pid"), child.id().to_string())?;
        reap(child);
        Ok(())
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            let out = fs::File::open(folder.join("out"))?;
            if BufReader::new(out).lines().map_while(std::result::Result::ok).any(|line| line == "ready") {
                return Ok(());
            }
            if self.pid(name).is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it said nothing");
        Err(format!("{name} did not come up: {last}").into())
    }

    fn wait_gone(&self, name: &str) -> bool {
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if self.pid(name).is_none() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn stop_all(&self) {
        let running: Vec<_> = self.nodes.iter().filter_map(|node| Some((&node.name, self.pid(&node.name)?))).collect();
        for (_, pid) in &running {
            // A node that a test has stopped must go on to hear it.
            let _ = kill_process(*pid, Signal::CONT);
            let _ = kill_process(*pid, Signal::TERM);
        }
        for (name, pid) in running {
            if !self.wait_gone(name) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// A node's metrics as text.
    ///
    /// # Errors
    /// If the node does not answer.
    pub fn metrics(&self, name: &str) -> Result<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect_timeout(&self.node(name)?.metrics, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The sum of a metric over its labels.
    ///
    /// # Errors
    /// As [`Testnet::metrics`].
    pub fn metric(&self, name: &str, metric: &str) -> Result<f64> {
        let text = self.metrics(name)?;
        let value = |line: &str| {
            let (key, value) = line.rsplit_once(' ')?;
            let bare = key.split('{').next()?;
            (bare == metric).then(|| value.parse::<f64>().ok()).flatten()
        };
        Ok(text.lines().filter_map(value).sum())
    }
}

const STATE: &str = "testnet.toml";

/// Waits for a child in the background, so that a killed node is not left as a zombie, whose pid would look alive.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
}

/// A program of this workspace, beside the one that runs (or one folder up, for test binaries).
///
/// # Errors
/// If it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} is not built; run `cargo build --workspace`").into())
}

fn choose_nodes(shape: &Shape) -> Result<Vec<Node>> {
    let count = shape.width * MIX_LAYERS + shape.entries + shape.mailboxes;
    if shape.width == 0 || shape.entries == 0 || shape.mailboxes == 0 || count > NODES_MAX {
        return Err(format!("a test network has at least one node of each kind and at most {NODES_MAX} in all").into());
    }
    // In the order in which the directory deals mixes to layers.
    let mixes = (1..=shape.width)
        .flat_map(|number| (1..=MIX_LAYERS).map(move |layer| (format!("mix-{layer}-{number}"), Role::Mix)));
    let entries = (1..=shape.entries).map(|number| (format!("entry-{number}"), Role::Entry));
    let mailboxes = (1..=shape.mailboxes).map(|number| (format!("mailbox-{number}"), Role::Mailbox));
    // All ports are held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut nodes = Vec::new();
    for (name, role) in mixes.chain(entries).chain(mailboxes) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        nodes.push(Node { name, role, listen: socket.local_addr()?, metrics: metrics.local_addr()? });
        held.push((socket, metrics));
    }
    Ok(nodes)
}

fn make_network(folder: &Path, shape: &Shape, nodes: &[Node]) -> Result<()> {
    let mut authorities = Vec::new();
    for number in 1..=shape.authorities {
        let seed = keys::fresh()?;
        keys::write(&folder.join(format!("authority-{number}.key")), &seed)?;
        authorities.push(SigningSecret::from_seed(seed.expose()));
    }
    let mut descriptors = Vec::new();
    for node in nodes {
        let place = folder.join(&node.name);
        fs::create_dir_all(&place)?;
        let path = place.join("config.toml");
        fs::write(&path, config_text(node))?;
        let node_config: NodeOnly = config::load(&path)?;
        descriptors.push(identity::init(&node_config.node.resolve(&path)?, node.role, Epoch(1))?);
    }
    let entries = nodes.iter().zip(&descriptors).filter(|(node, _)| node.role == Role::Entry);
    let name = if shape.fast { "testnet-fast" } else { "testnet" };
    let mut file = network_file(name, shape.authorities.saturating_sub(1) / 3, &authorities);
    file.entries = entries
        .map(|(node, descriptor)| BootstrapEntry {
            id: descriptor.id,
            address: node.listen,
            link_key: descriptor.link_key,
        })
        .collect();
    let set = file.authority_set()?;
    let fixed = FixedNetwork {
        network: set.network(),
        descriptors: &descriptors,
        params: if shape.fast { Params { hurry: HURRY, ..Params::hurried(FAST) } } else { Params::standard() },
        epoch: Epoch(1),
        valid_after: Clock::start().now() - Duration::from_secs(60),
        valid_for: Duration::from_secs(86_400) * VALID_DAYS,
    };
    fs::write(folder.join("document"), sign_view(&fixed.view()?, &authorities))?;
    fs::write(folder.join("network.toml"), file.to_text())?;
    Ok(())
}

/// The part of a configuration that all nodes share, whatever else is in the file.
#[derive(Deserialize)]
struct NodeOnly {
    node: NodeConfig,
}

fn config_text(node: &Node) -> String {
    let head = match node.role {
        Role::Mix => "role = \"mix\"\n",
        Role::Entry => "role = \"entry\"\n",
        Role::Mailbox => "",
    };
    // A test machine's disk may be nearly full of other things.
    let tail = if node.role == Role::Mailbox { "[store]\nquota_mib = 512\nfree_disk_floor_mib = 16\n" } else { "" };
    format!(
        "{head}[node]\ndata_dir = \"data\"\nlisten = \"{}\"\nnetwork = \"../network.toml\"\ndocument = \"../document\"\n\
         metrics = \"{}\"\nlog = \"info\"\n{tail}",
        node.listen, node.metrics
    )
}
