//! A passive observer of a real test network: reads every UDP datagram on loopback, as someone on every line would, and writes down
//! when, between whom, and how many bytes. Nothing is changed or delayed.
//!
//! It needs the right to read raw packets: root, or `CAP_NET_RAW`.

use crate::testnet::{Kind, Result, Testnet};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use veilpost_lab::capture::{Capture, Endpoint, Header, ROWS_MAX, Row, Source, Unit, VERSION};

/// IPv4 in a link's header; with this, and not with "all", loopback shows each datagram once.
const ETHERTYPE_IPV4: u16 = 0x0800;
/// UDP in an IP header.
const UDP: u8 = 17;
/// Bytes of a datagram that are looked at: IP header with options, UDP header.
const HEADERS: usize = 68;
/// Room in the kernel for what comes while this thread waits.
const BUFFER: usize = 16 << 20;
/// How soon an end is noticed, and how often clients' ports are looked up: a client that connects anew has another one.
const LOOK: Duration = Duration::from_millis(200);

/// Someone whose datagrams are to be told by their process.
#[derive(Clone, Debug)]
pub struct Watched {
    /// How the capture calls them.
    pub name: String,
    /// Their daemon.
    pub pid: u32,
}

/// A datagram by its ports.
struct Datagram {
    time_ns: i64,
    from: u16,
    to: u16,
    size: u32,
}

/// What the thread brings back: datagrams, and which client had which port.
type Seen = (Vec<Datagram>, BTreeMap<u16, String>);

/// An observer at work.
#[derive(Debug)]
pub struct Observer {
    nodes: BTreeMap<u16, Endpoint>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Observer {
    /// Begins to observe a network and these clients.
    ///
    /// # Errors
    /// If this process may not read raw packets.
    pub fn start(network: &Testnet, clients: Vec<Watched>) -> Result<Self> {
        let protocol = Protocol::from(i32::from(ETHERTYPE_IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).map_err(|error| {
            format!("loopback cannot be observed ({error}): run as root, or with the capability CAP_NET_RAW")
        })?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_read_timeout(Some(LOOK))?;
        let endpoint = |kind: Kind, name: &str| Endpoint { name: name.into(), role: kind.word().into() };
        let nodes = network.nodes().iter().map(|node| (node.listen.port(), endpoint(node.kind, &node.name)));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("observer".into());
        let stopped = Arc::clone(&stop);
        Ok(Self { nodes: nodes.collect(), stop, thread: thread.spawn(move || watch(socket, &clients, &stopped))? })
    }

    /// Ends the watch and gives what was seen. Datagrams of ports that belong to no node and no watched client are left out: they
    /// are not of this network.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn finish(self) -> Result<Capture> {
        self.stop.store(true, Ordering::Relaxed);
        let (datagrams, clients) = self.thread.join().map_err(|_| "the observer's thread panicked")??;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut index = BTreeMap::new();
        let clients = clients.into_iter().map(|(port, name)| (port, Endpoint { name, role: "client".into() }));
        for (port, endpoint) in self.nodes.into_iter().chain(clients) {
            let at = endpoints.iter().position(|known| *known == endpoint).unwrap_or_else(|| {
                endpoints.push(endpoint);
                endpoints.len() - 1
            });
            index.insert(port, u32::try_from(at)?);
        }
        let row = |seen: Datagram| {
            Some(Row {
                time_ns: seen.time_ns,
                from: *index.get(&seen.from)?,
                to: *index.get(&seen.to)?,
                size: seen.size,
            })
        };
        let mut rows: Vec<Row> = datagrams.into_iter().filter_map(row).collect();
        // The machine's clock may be set while we watch.
        rows.sort_by_key(|row| row.time_ns);
        let (source, unit) = (Source::Testnet, Unit::Datagram);
        let header = Header { version: VERSION, source, unit, seed: None, endpoints, marks: Vec::new() };
        Ok(Capture { header, rows })
    }
}

fn watch(mut socket: Socket, clients: &[Watched], stop: &AtomicBool) -> Result<Seen> {
    let (mut datagrams, mut ports) = (Vec::new(), BTreeMap::new());
    let mut looked: Option<Instant> = None;
    let mut packet = [0; HEADERS];
    while !stop.load(Ordering::Relaxed) && datagrams.len() < ROWS_MAX {
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            for client in clients {
                // A daemon that has ended has no ports any more; those it had are known.
                ports.extend(
                    udp_ports(client.pid).unwrap_or_default().into_iter().map(|port| (port, client.name.clone())),
                );
            }
        }
        match socket.read(&mut packet) {
            Ok(length) => datagrams.extend(packet.get(..length).and_then(datagram)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((datagrams, ports))
}

/// Now as a capture has it; `None` before 1970.
pub(crate) fn now_ns() -> Option<i64> {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// Ports and size of a UDP datagram on loopback, out of its IP header (RFC 791).
fn datagram(packet: &[u8]) -> Option<Datagram> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let loopback = *packet.get(12)? == 127 && *packet.get(16)? == 127;
    if !loopback || *packet.get(9)? != UDP {
        return None;
    }
    Some(Datagram { time_ns: now_ns()?, from: number(header)?, to: number(header + 2)?, size: u32::from(number(2)?) })
}

/// The UDP ports that a process has.
fn udp_ports(pid: u32) -> Result<Vec<u16>> {
    let mut inodes = Vec::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(file?.path()).unwrap_or_default();
        let socket = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(socket.map(str::to_owned));
    }
    let mut ports = Vec::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (Some(local), Some(inode)) = (fields.get(1), fields.get(9)) else { continue };
            if inodes.iter().any(|own| own == inode) {
                ports.extend(local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok()));
            }
        }
    }
    Ok(ports)
}
