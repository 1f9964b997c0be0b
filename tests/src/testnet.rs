//! A Veilpost network of real processes on loopback, one folder each: authorities that vote, mixes, entries, mailboxes.
//!
//! ```text
//! DIR/network.toml                    what clients, nodes and authorities start from
//! DIR/nodes.toml                      the nodes that all authorities admit
//! DIR/NAME/config.toml, data/, pid, log
//! ```

mod found;

use crate::tornet::TorNet;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use veilpost_pki::Role;

/// How much faster `--fast` runs.
pub const FAST: u32 = 8;
/// How much faster the waits run there that only a client uses (receipts, hits of late digests, repeats): they are what tests would
/// wait for longest.
pub const HURRY: u32 = 24;
/// Processes of a test network at most.
const NODES_MAX: usize = 200;
/// How long a process may take to say `ready`.
const READY: Duration = Duration::from_secs(60);
/// How long a process may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(15);
/// How long answers over HTTP may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Anything that goes wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// Result of the tool's steps.
pub type Result<T> = std::result::Result<T, Error>;

/// What a test network is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Authorities that vote.
    pub authorities: usize,
    /// Mixes per layer.
    pub width: usize,
    /// Entries.
    pub entries: usize,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Divides all means and periods by [`FAST`].
    pub fast: bool,
    /// Length of an epoch; an hour by default, or half a minute on a fast network.
    pub epoch: Option<Duration>,
    /// Parameters that the authorities vote for beside that: durations in milliseconds, and plain numbers.
    pub params: Vec<(String, u64)>,
    /// A private Tor network under it, on which entries and mailboxes have onion services: see [`crate::tornet`].
    pub tor: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            authorities: 4,
            width: 2,
            entries: 2,
            mailboxes: 3,
            fast: false,
            epoch: None,
            params: Vec::new(),
            tor: false,
        }
    }
}

impl Shape {
    /// Length of an epoch.
    pub fn epoch(&self) -> Duration {
        self.epoch.unwrap_or(Duration::from_secs(if self.fast { 30 } else { 3_600 }))
    }
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Votes on the network document.
    Authority,
    /// Mixes.
    Mix,
    /// Connects clients.
    Entry,
    /// Keeps boxes.
    Mailbox,
}

impl Kind {
    /// Its role in the document; authorities have none.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Authority => None,
            Self::Mix => Some(Role::Mix),
            Self::Entry => Some(Role::Entry),
            Self::Mailbox => Some(Role::Mailbox),
        }
    }

    /// Its word in names and files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Mix => "mix",
            Self::Entry => "entry",
            Self::Mailbox => "mailbox",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Authority => "veilpost-directory",
            Self::Mix | Self::Entry => "veilpost-mixnode",
            Self::Mailbox => "veilpost-mailbox",
        }
    }

    /// The metric that tells the epoch of the document in force.
    fn metric(self, name: &str) -> String {
        let prefix = match self {
            Self::Authority => "veilpost_directory",
            Self::Mix | Self::Entry => "veilpost_mixnode",
            Self::Mailbox => "veilpost_mailbox",
        };
        format!("{prefix}_{name}")
    }
}

/// A process of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Kind and number, as in `mix-3`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    /// Where an authority's status page is.
    #[serde(default)]
    pub http: Option<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// Length of an epoch in milliseconds.
    epoch_ms: u64,
    nodes: Vec<Node>,
}

/// A network in its folder.
#[derive(Debug)]
pub struct Testnet {
    folder: PathBuf,
    epoch: Duration,
    nodes: Vec<Node>,
    tor: Option<TorNet>,
}

impl Testnet {
    /// Makes the network and starts all of its processes. When it returns, the authorities have agreed on a document, its epoch
    /// has begun, and every node relays.
    ///
    /// # Errors
    /// In words; what was started is stopped again.
    pub fn up(folder: &Path, shape: &Shape) -> Result<Self> {
        if folder.join(STATE).exists() {
            return Err(format!("{} holds a network already; take it down first", folder.display()).into());
        }
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let tor = shape.tor.then(|| TorNet::up(&folder.join(TOR))).transpose()?;
        let nodes = match found::found(&folder, shape, tor.as_ref()) {
            Ok(nodes) => nodes,
            Err(error) => {
                tor.iter().for_each(TorNet::stop);
                return Err(error);
            }
        };
        let network = Self { folder, epoch: shape.epoch(), nodes, tor };
        let started = network.save().and_then(|()| network.start_all());
        if started.is_err() {
            network.stop_all();
        }
        started.map(|()| network)
    }

    fn start_all(&self) -> Result<()> {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.clone()).collect();
        names.iter().try_for_each(|name| self.spawn(name))?;
        names.iter().try_for_each(|name| self.wait_ready(name))?;
        // The first round may fail on a busy machine; the second is an epoch later.
        self.wait_relaying(READY + self.epoch)
    }

    /// A network that `up` made.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(folder.join(STATE));
        let text = text.map_err(|_| format!("{} holds no test network", folder.display()))?;
        let State { epoch_ms, nodes } = toml::from_str(&text)?;
        let tor = TorNet::open(&folder.join(TOR))?;
        Ok(Self { folder: folder.canonicalize()?, epoch: Duration::from_millis(epoch_ms), nodes, tor })
    }

    fn save(&self) -> Result<()> {
        let epoch_ms = u64::try_from(self.epoch.as_millis())?;
        let state = State { epoch_ms, nodes: self.nodes.clone() };
        Ok(fs::write(self.folder.join(STATE), toml::to_string(&state)?)?)
    }

    /// Stops all processes and forgets the network; logs and data stay.
    ///
    /// # Errors
    /// What the disk says.
    pub fn down(self) -> Result<()> {
        self.stop_all();
        Ok(fs::remove_file(self.folder.join(STATE))?)
    }

    /// Adds a node: the authorities admit it from their next vote on. When this returns, it relays: two epochs later at most.
    ///
    /// # Errors
    /// In words; an authority cannot be added.
    pub fn add(&mut self, kind: Kind) -> Result<String> {
        if self.nodes.len() >= NODES_MAX {
            return Err(format!("a test network has at most {NODES_MAX} processes").into());
        }
        let taken = |number: &usize| self.nodes.iter().any(|node| node.name == format!("{}-{number}", kind.word()));
        let number = (1..).find(|number| !taken(number)).ok_or("no number is free")?;
        let node = found::choose(kind, number)?.0;
        found::make_node(&self.folder, &node, self.tor.is_some())?;
        let name = node.name.clone();
        self.nodes.push(node);
        self.admit()?;
        self.save()?;
        self.spawn(&name)?;
        self.wait_ready(&name)?;
        self.wait_until(self.epoch * 3 + READY, || self.is_relaying(&name))
            .then_some(())
            .ok_or_else(|| format!("{name} is not in the document after three epochs"))?;
        Ok(name)
    }

    /// Removes a node: taken off the authorities' lists, stopped once no document in force lists it, and forgotten.
    ///
    /// # Errors
    /// In words; an authority cannot be removed.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        if self.node(name)?.kind == Kind::Authority {
            return Err("an authority leaves by a hand-over; see `veilpost-directory --help`".into());
        }
        let id = found::node_id(&self.folder, name)?;
        let at = self.nodes.iter().position(|node| node.name == name).ok_or("no such node")?;
        let node = self.nodes.remove(at);
        self.admit()?;
        let gone =
            self.wait_until(self.epoch * 3 + READY, || self.document().is_ok_and(|document| !document.contains(&id)));
        if self.pid_in(name).is_some() {
            self.end(name);
        }
        if !gone {
            self.nodes.push(node);
            return Err(format!("{name} is still in the document after three epochs").into());
        }
        self.save()
    }

    /// Writes the list of nodes that all authorities admit.
    fn admit(&self) -> Result<()> {
        found::admit(&self.folder, &self.nodes)
    }

    /// The file that clients start from.
    pub fn network_file(&self) -> PathBuf {
        self.folder.join("network.toml")
    }

    /// Length of an epoch.
    pub fn epoch(&self) -> Duration {
        self.epoch
    }

    /// All processes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn node(&self, name: &str) -> Result<&Node> {
        let known = self.nodes.iter().find(|node| node.name == name);
        known.ok_or_else(|| format!("there is no node {name}; `list` shows them").into())
    }

    /// True if a node takes packets of the epoch in force.
    pub fn is_relaying(&self, name: &str) -> bool {
        let relaying = |node: &Node| self.metric(name, &node.kind.metric("relaying")).unwrap_or_default() > 0.0;
        self.node(name).is_ok_and(relaying)
    }

    /// Waits until every node relays.
    ///
    /// # Errors
    /// Which one does not.
    pub fn wait_relaying(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        for node in self.nodes.iter().filter(|node| node.kind != Kind::Authority) {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.wait_until(left, || self.is_relaying(&node.name)) {
                let why = self.authority_status().map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!("{} does not relay; an authority says: {why}", node.name).into());
            }
        }
        Ok(())
    }

    /// Waits until something is so; false if it took too long.
    pub fn wait_until(&self, within: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if done() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the first authority that answers says of itself.
    ///
    /// # Errors
    /// If none answers.
    pub fn authority_status(&self) -> Result<serde_json::Value> {
        let running = self.nodes.iter().filter(|node| node.kind == Kind::Authority);
        let mut answers = running.filter_map(|node| self.status_of(&node.name).ok());
        answers.next().ok_or_else(|| "no authority answers".into())
    }

    /// What an authority says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status_of(&self, name: &str) -> Result<serde_json::Value> {
        let address = self.node(name)?.http.ok_or("only authorities have a status page")?;
        Ok(serde_json::from_str(&get(address, "/status.json")?)?)
    }

    /// The status page of an authority, as text: it holds the id of every node of the newest document.
    fn document(&self) -> Result<String> {
        let pages = self.nodes.iter().filter_map(|node| node.http).filter_map(|address| get(address, "/").ok());
        let in_force = self.authority_status()?;
        let number = |at: &str| in_force.pointer(at).and_then(serde_json::Value::as_u64);
        let (epoch, newest) = (number("/epoch"), number("/document/epoch"));
        // The document of the next epoch is there half an epoch early: it says what will be.
        if newest > epoch {
            return Err("the newest document is not in force yet".into());
        }
        pages.into_iter().next().ok_or_else(|| "no authority answers".into())
    }

    /// The process of a node, if it runs.
    pub fn pid(&self, name: &str) -> Option<Pid> {
        self.node(name).ok()?;
        self.pid_in(name)
    }

    fn pid_in(&self, name: &str) -> Option<Pid> {
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
        let program = program(self.node(name)?.kind.program())?;
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
            if self.pid_in(name).is_none() {
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
        self.tor.iter().for_each(TorNet::stop);
    }

    /// The Tor network under it, if there is one.
    pub fn tor(&self) -> Option<&TorNet> {
        self.tor.as_ref()
    }

    /// Waits until clients can reach the onion services of all entries and mailboxes.
    ///
    /// # Errors
    /// Which one they cannot reach, and why.
    pub fn wait_onions(&self, within: Duration) -> Result<()> {
        for node in self.nodes.iter().filter(|node| matches!(node.kind, Kind::Entry | Kind::Mailbox)) {
            let mut told = String::new();
            if !self.wait_until(within, || {
                told = self.onion(&node.name).unwrap_or_else(|error| error.to_string());
                told.contains("reachable")
            }) {
                return Err(format!("{}: {told}", node.name).into());
            }
        }
        Ok(())
    }

    /// What a node says of its onion service.
    ///
    /// # Errors
    /// If it has none.
    pub fn onion(&self, name: &str) -> Result<String> {
        let program = program(self.node(name)?.kind.program())?;
        let config = self.folder.join(name).join("config.toml");
        let told = Command::new(program).arg("onion").arg("--config").arg(config).output()?;
        let text = if told.status.success() { told.stdout } else { told.stderr };
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// Stops a process as an operator does.
    fn end(&self, name: &str) {
        let Some(pid) = self.pid_in(name) else { return };
        let _ = kill_process(pid, Signal::TERM);
        if !self.wait_gone(name) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// A node's metrics as text.
    ///
    /// # Errors
    /// If the node does not answer.
    pub fn metrics(&self, name: &str) -> Result<String> {
        get(self.node(name)?.metrics, "/metrics")
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
/// Where the Tor network lies.
const TOR: &str = "tor";

/// Waits for a child in the background, so that a killed node is not left as a zombie, whose pid would look alive.
pub(crate) fn reap(mut child: std::process::Child) {
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

/// Memory of a process, in MiB.
pub fn memory(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1_024)
}

/// The body of an answer over plain HTTP.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(1 << 24).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}
