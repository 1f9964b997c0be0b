//! A private Tor network of Debian's `tor` on loopback: three directory authorities and three relays, no exits. What arti's clients and
//! onion services are tried against.
//!
//! It runs only where nothing but loopback can be reached: in a network namespace of its own. [`crate::namespace`].

mod bridge;

pub use bridge::Bridge;

use crate::{namespace, testnet::Result};
use data_encoding::BASE64;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use veilpost_pki::network::{TorAuthority, TorFallback, TorNetwork};

const AUTHORITIES: usize = 3;
const RELAYS: usize = 3;
/// Seconds from one vote to the next. Not less: arti's onion services publish once a minute at most, and begin that minute anew with
/// each consensus; with one every 15 seconds they were not found for up to a minute whenever a time period ended.
const VOTING: u64 = 60;
/// Seconds from one try at the first consensus to the next.
const FIRST_VOTE: u64 = 10;
/// How long the network may take until all of its nodes serve a consensus that lists all of them: usually the first, or two votes more.
const READY: Duration = Duration::from_secs(240);
const STATE: &str = "tornet.toml";

/// What runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct TorNet {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Node {
    nickname: String,
    folder: PathBuf,
    /// Relay port and directory port.
    or: SocketAddr,
    dir: SocketAddr,
    /// The authority's v3 identity; none for a relay.
    v3ident: Option<String>,
    rsa: String,
    ed25519: String,
    #[serde(default)]
    pid: Option<i32>,
}

impl TorNet {
    /// Makes keys, starts all nodes, and waits until each of them knows all of them.
    ///
    /// # Errors
    /// In words; what was started is stopped again.
    pub fn up(folder: &Path) -> Result<Self> {
        namespace::require()?;
        for program in ["tor", "tor-gencert"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            found
                .map_err(|_| format!("`{program}` is not installed: `make test-tor` does, or `apt-get install tor`"))?;
        }
        private(folder)?;
        let folder = folder.canonicalize()?;
        let nodes = make_all(&folder)?;
        let mut network = Self { nodes };
        for node in &network.nodes {
            fs::write(node.folder.join("torrc"), network.torrc(node)?)?;
            if node.v3ident.is_some() {
                fs::write(node.folder.join("sr-state"), shared_random()?)?;
            }
        }
        wait_begun()?;
        for node in &mut network.nodes {
            node.pid = Some(launch(node)?);
        }
        fs::write(folder.join(STATE), toml::to_string(&network)?)?;
        let ready = network.wait_ready();
        if ready.is_err() {
            network.stop();
        }
        ready.map(|()| network)
    }

    /// The one that `up` started in this folder, if there is one.
    ///
    /// # Errors
    /// If what stands there is damaged.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(folder.join(STATE)) {
            Ok(text) => Ok(Some(toml::from_str(&text)?)),
            Err(_) => Ok(None),
        }
    }

    /// For a network file.
    pub fn network(&self) -> TorNetwork {
        let authority = |node: &Node| Some(TorAuthority { v3ident: node.v3ident.clone()?, address: node.dir });
        let fallback =
            |node: &Node| TorFallback { rsa: node.rsa.clone(), ed25519: node.ed25519.clone(), address: node.or };
        TorNetwork {
            loopback_only: true,
            authorities: self.nodes.iter().filter_map(authority).collect(),
            fallbacks: self.nodes.iter().map(fallback).collect(),
        }
    }

    /// Memory of all nodes, summed, in MiB.
    pub fn memory(&self) -> u64 {
        self.running().filter_map(crate::testnet::memory).sum()
    }

    fn running(&self) -> impl Iterator<Item = Pid> {
        running(&self.nodes)
    }

    /// Stops all nodes.
    pub fn stop(&self) {
        stop(|| self.running());
    }

    /// Starts a bridge beside them.
    ///
    /// # Errors
    /// In words.
    pub fn bridge(&self) -> Result<Bridge> {
        Bridge::up(self)
    }

    /// Where the nodes take connections: what a client with a bridge never dials.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().flat_map(|node| [node.or, node.dir]).collect()
    }

    /// The folder that all nodes' folders are in.
    fn folder(&self) -> Result<&Path> {
        let folder = self.nodes.first().and_then(|node| node.folder.parent());
        Ok(folder.ok_or("a Tor network without nodes")?)
    }

    fn torrc(&self, node: &Node) -> Result<String> {
        let Node { nickname, folder, or, dir, .. } = node;
        let folder = folder.display();
        let mut text = format!(
            "TestingTorNetwork 1\nPathsNeededToBuildCircuits 0.67\nTestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\n\
             TestingDirAuthVoteGuard *\nTestingMinExitFlagThreshold 0\nV3AuthNIntervalsValid 3\nEnforceDistinctSubnets 0\n\
             AssumeReachable 1\nDataDirectory {folder}\nNickname {nickname}\nContactInfo {nickname}@test.invalid\n\
             RunAsDaemon 0\nShutdownWaitLength 0\nConnLimit 60\nLog notice file {folder}/log\nSocksPort 0\n\
             Address {ip}\nOutboundBindAddress {ip}\nORPort {or} IPv4Only\nDirPort {dir}\nServerDNSDetectHijacking 0\n\
             ServerDNSTestAddresses\nServerDNSResolvConfFile {folder}/resolv.conf\nServerDNSAllowBrokenConfig 1\nDirCache 1\n\
             NumCPUs 1\nMaxMemInQueues 256 MB\nExitRelay 0\nExitPolicy reject *:*\n",
            ip = or.ip(),
        );
        for other in &self.nodes {
            if let Some(v3ident) = &other.v3ident {
                let Node { nickname, or, dir, rsa, .. } = other;
                writeln!(text, "DirAuthority {nickname} orport={} no-v2 v3ident={v3ident} {dir} {rsa}", or.port())?;
            }
        }
        if node.v3ident.is_some() {
            // Circuits here are built in milliseconds: whoever learns from that how long to wait gives up as soon as a processor is busy.
            // A time period of onion services is as long as a run of shared randomness: 24 votes, in minutes.
            let minutes = 24 * VOTING / 60;
            write!(
                text,
                "AuthDirFastGuarantee 0\nAuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n\
                 TestingV3AuthInitialVotingInterval {FIRST_VOTE}\nTestingV3AuthInitialVoteDelay 2\nTestingV3AuthInitialDistDelay 2\n\
                 V3AuthVotingInterval {VOTING}\nV3AuthVoteDelay 3\nV3AuthDistDelay 3\n\
                 ConsensusParams hsdir_interval={minutes} cbtmintimeout=3000\n"
            )?;
        }
        Ok(text)
    }

    fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        // A process that is just being started has another command line for a moment: one that is gone is so twice.
        let mut missing = 0;
        while Instant::now() < deadline {
            if self.nodes.iter().all(|node| self.lists_all(node)) {
                return Ok(());
            }
            missing = if self.running().count() < self.nodes.len() { missing + 1 } else { 0 };
            if missing > 1 {
                return Err(format!("a node of the Tor network ended: {}", self.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Err("the Tor network's authorities did not agree in time".into())
    }

    /// The last line of each node that has ended.
    fn last_words(&self) -> String {
        let running: Vec<i32> = self.running().map(|pid| pid.as_raw_nonzero().get()).collect();
        let gone = self.nodes.iter().filter(|node| node.pid.is_none_or(|pid| !running.contains(&pid)));
        let said = gone.map(|node| {
            let log = fs::read_to_string(node.folder.join("out")).unwrap_or_default();
            format!("{}: {}", node.nickname, log.lines().last().unwrap_or("it said nothing"))
        });
        said.collect::<Vec<_>>().join("; ")
    }

    fn lists_all(&self, node: &Node) -> bool {
        let consensus =
            crate::testnet::get(node.dir, "/tor/status-vote/current/consensus-microdesc").unwrap_or_default();
        let flags = consensus.lines().filter(|line| line.starts_with("s ") && line.contains("HSDir"));
        flags.count() == self.nodes.len()
    }
}

/// Waits until a try at the first consensus has just begun: for the next one all relays are there. Whoever is left out of the first
/// waits for the second.
fn wait_begun() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let into = Duration::from_nanos(u64::try_from(now.as_nanos() % u128::from(FIRST_VOTE * 1_000_000_000))?);
    std::thread::sleep(Duration::from_secs(FIRST_VOTE).saturating_sub(into));
    Ok(())
}

/// The processes of these nodes that run.
fn running(nodes: &[Node]) -> impl Iterator<Item = Pid> {
    let pids = nodes.iter().filter_map(|node| Some((node.pid?, &node.folder)));
    pids.filter_map(|(pid, folder)| {
        // The number may be somebody else's by now.
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy());
        Pid::from_raw(pid).filter(|pid| ours && test_kill_process(*pid).is_ok())
    })
}

/// Stops processes, at first as an operator does.
fn stop<I: Iterator<Item = Pid>>(running: impl Fn() -> I) {
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in running() {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while running().next().is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first port that is looked at. Below those that the kernel gives to connections: one of these could take a port between its choice
/// and tor's own binding of it.
const PORTS: u16 = 15_000;

/// Free ports, all held until all are chosen, so that none is chosen twice; tor binds them a moment later.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let free = (PORTS..PORTS + 1_000).filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let held: Vec<TcpListener> = free.take(N).collect();
    let addresses = held.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    addresses.try_into().map_err(|_| "too few ports are free".into())
}

fn make_all(folder: &Path) -> Result<Vec<Node>> {
    let addresses: [SocketAddr; 2 * (AUTHORITIES + RELAYS)] = free_addresses()?;
    let pairs = addresses.as_chunks::<2>().0.iter().enumerate();
    pairs
        .map(|(number, [or, dir])| {
            let authority = number < AUTHORITIES;
            let nickname = format!("{}{number}", if authority { "authority" } else { "relay" });
            make(folder, &nickname, *or, *dir, authority)
        })
        .collect()
}

fn make(folder: &Path, nickname: &str, or: SocketAddr, dir: SocketAddr, authority: bool) -> Result<Node> {
    let folder = folder.join(nickname);
    private(&folder)?;
    private(&folder.join("keys"))?;
    fs::write(folder.join("resolv.conf"), "")?;
    let v3ident = authority.then(|| certify(&folder, dir)).transpose()?;
    let listed = Command::new("tor")
        .args(["--quiet", "-f", "/dev/null", "--ignore-missing-torrc", "--list-fingerprint", "--orport", "1"])
        .args(["--nickname", nickname, "--assumereachable", "1", "--datadirectory"])
        .arg(&folder)
        .args(["--dirauthority", &format!("none 127.0.0.1:1 {}", "f".repeat(40))])
        .output()?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let rsa: String = text.lines().last().unwrap_or_default().split_whitespace().skip(1).collect();
    if rsa.len() != 40 {
        return Err(format!("tor made no keys: {text}{}", String::from_utf8_lossy(&listed.stderr)).into());
    }
    let line = fs::read_to_string(folder.join("fingerprint-ed25519"))?;
    let ed25519 = line.split_whitespace().nth(1).ok_or("tor made no Ed25519 key")?.to_owned();
    Ok(Node { nickname: nickname.to_owned(), folder, or, dir, v3ident, rsa, ed25519, pid: None })
}

/// An authority's certificate; returns its v3 identity.
fn certify(folder: &Path, dir: SocketAddr) -> Result<String> {
    let keys = folder.join("keys");
    let mut child = Command::new("tor-gencert")
        .args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-a", &dir.to_string()])
        .arg("-i")
        .arg(keys.join("authority_identity_key"))
        .arg("-s")
        .arg(keys.join("authority_signing_key"))
        .arg("-c")
        .arg(keys.join("authority_certificate"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(b"for tests\n")?;
    if !child.wait()?.success() {
        return Err("tor-gencert failed".into());
    }
    let certificate = fs::read_to_string(keys.join("authority_certificate"))?;
    let ident = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
    Ok(ident.ok_or("tor-gencert made no certificate")?.to_owned())
}

/// What authorities agree on only after 24 votes, so that the first consensus has it: onion services count as published only with it.
fn shared_random() -> Result<String> {
    let version = Command::new("tor").arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_whitespace().nth(2).unwrap_or("0.4.8.0").trim_end_matches('.').to_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = 24 * VOTING;
    let (from, until) = (now, now / run * run + run);
    let (previous, current) = (BASE64.encode(&[1; 32]), BASE64.encode(&[2; 32]));
    Ok(format!(
        "Version 1\nTorVersion {version}\nValidAfter {}\nValidUntil {}\nSharedRandPreviousValue 3 {previous}\n\
         SharedRandCurrentValue 3 {current}\n",
        utc(from)?,
        utc(until)?
    ))
}

/// As tor writes times.
fn utc(seconds: u64) -> Result<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds)?)?;
    Ok(at.format(time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))?)
}

fn launch(node: &Node) -> Result<i32> {
    let out = fs::File::create(node.folder.join("out"))?;
    let child = Command::new("tor")
        .arg("-f")
        .arg(node.folder.join("torrc"))
        // Debian's has other ideas.
        .args(["--defaults-torrc", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(child.id())?;
    crate::testnet::reap(child);
    Ok(pid)
}

/// A folder that nobody else reads: tor insists.
fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(folder)?;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?)
}
