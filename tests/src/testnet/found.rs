//! Making a test network: addresses, keys, files.

use super::{FAST, HURRY, Kind, NODES_MAX, Node, Result, Shape};
use crate::tornet::TorNet;
use serde::Deserialize;
use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};
use veilpost_daemon::{
    config::{self, NodeConfig},
    identity::{self, NodeKeys},
    onion,
};
use veilpost_directory::{Config, tool};
use veilpost_packet::{geometry::MIX_LAYERS, ids::NodeId, time::Epoch};
use veilpost_pki::{network::TorNetwork, schedule::relay_steps};

/// Length of a phase of a voting round on loopback. A busy machine's clocks and disks are late by less.
const PHASE: Duration = Duration::from_secs(1);
/// From the files to the last descriptor at an authority: the processes must have started by then.
const START: Duration = Duration::from_secs(4);
/// What each process adds to it.
const START_EACH: Duration = Duration::from_millis(150);

/// Makes everything that the network's processes need, authorities first.
pub(super) fn found(folder: &Path, shape: &Shape, tor: Option<&TorNet>) -> Result<Vec<Node>> {
    let nodes = choose_all(shape)?;
    for node in nodes.iter().filter(|node| node.kind != Kind::Authority) {
        make_node(folder, node, tor.is_some())?;
    }
    admit(folder, &nodes)?;
    let mut authorities = Vec::new();
    for node in nodes.iter().filter(|node| node.kind == Kind::Authority) {
        let place = folder.join(&node.name);
        fs::create_dir_all(&place)?;
        let path = place.join("config.toml");
        fs::write(&path, authority_config(node, shape))?;
        tool::init(&Config::load(&path)?)?;
        authorities.push(place.join("data/authority.toml"));
    }
    let faulty = shape.authorities.saturating_sub(1) / 3;
    let round = PHASE * (5 + 2 * relay_steps(faulty));
    let new = tool::NewNetwork {
        name: if shape.fast { "testnet-fast" } else { "testnet" },
        authorities: &authorities,
        faulty,
        epoch: shape.epoch(),
        phase: PHASE,
        starts_in: START + START_EACH * u32::try_from(nodes.len())? + round,
    };
    let mut file = new.file()?;
    // Nothing of a test network uses the public one.
    file.tor = Some(tor.map_or(TorNetwork::NONE, TorNet::network));
    for node in nodes.iter().filter(|node| node.kind == Kind::Entry) {
        tool::add_entry(&mut file, &folder.join(&node.name).join("data/descriptor"))?;
    }
    fs::write(folder.join("network.toml"), file.to_text())?;
    Ok(nodes)
}

fn choose_all(shape: &Shape) -> Result<Vec<Node>> {
    let count = shape.authorities + shape.width * MIX_LAYERS + shape.entries + shape.mailboxes;
    let one_of_each = [shape.authorities, shape.width, shape.entries, shape.mailboxes].iter().all(|count| *count > 0);
    if !one_of_each || count > NODES_MAX {
        return Err(format!("a test network has at least one node of each kind and at most {NODES_MAX} in all").into());
    }
    let kinds = [
        (Kind::Authority, shape.authorities),
        (Kind::Mix, shape.width * MIX_LAYERS),
        (Kind::Entry, shape.entries),
        (Kind::Mailbox, shape.mailboxes),
    ];
    // All ports are held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut nodes = Vec::new();
    for (kind, number) in kinds.into_iter().flat_map(|(kind, count)| (1..=count).map(move |number| (kind, number))) {
        let (node, sockets) = choose(kind, number)?;
        nodes.push(node);
        held.push(sockets);
    }
    Ok(nodes)
}

/// Sockets that hold a node's ports.
pub(super) type Held = (UdpSocket, TcpListener, TcpListener);

/// A node on ports that are free, as long as the sockets are held.
pub(super) fn choose(kind: Kind, number: usize) -> Result<(Node, Held)> {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let node = Node {
        name: format!("{}-{number}", kind.word()),
        kind,
        listen: udp.local_addr()?,
        metrics: metrics.local_addr()?,
        http: (kind == Kind::Authority).then(|| http.local_addr()).transpose()?,
    };
    Ok((node, (udp, metrics, http)))
}

/// A node's folder, keys and configuration.
pub(super) fn make_node(folder: &Path, node: &Node, tor: bool) -> Result<()> {
    let role = node.kind.role().ok_or("an authority is no node")?;
    let place = folder.join(&node.name);
    fs::create_dir_all(&place)?;
    let path = place.join("config.toml");
    fs::write(&path, node_config(node, tor))?;
    let config: NodeOnly = config::load(&path)?;
    let config = config.node.resolve(&path)?;
    onion::init(&config, None)?;
    identity::init(&config, role, Epoch(1))?;
    Ok(())
}

/// A node's id.
pub(super) fn node_id(folder: &Path, name: &str) -> Result<String> {
    Ok(id(folder, name)?.to_string())
}

fn id(folder: &Path, name: &str) -> Result<NodeId> {
    Ok(NodeKeys::load(&folder.join(name).join("data"))?.id())
}

/// Writes the list of nodes that all authorities admit, whole or not at all.
pub(super) fn admit(folder: &Path, nodes: &[Node]) -> Result<()> {
    let mut list = String::new();
    for node in nodes {
        if let Some(role) = node.kind.role() {
            let id = id(folder, &node.name)?;
            writeln!(list, "[[node]]\nid = \"{id}\"\nrole = \"{role}\"\nnote = \"{}\"\n", node.name)?;
        }
    }
    veilpost_daemon::keys::write_public(&folder.join("nodes.toml"), list.as_bytes())?;
    Ok(())
}

/// The part of a configuration that all nodes share, whatever else is in the file.
#[derive(Deserialize)]
struct NodeOnly {
    node: NodeConfig,
}

fn node_config(node: &Node, tor: bool) -> String {
    let head = match node.kind {
        Kind::Mix => "role = \"mix\"\n",
        Kind::Entry => "role = \"entry\"\n",
        Kind::Mailbox | Kind::Authority => "",
    };
    // A test machine's disk may be nearly full of other things.
    let tail = if node.kind == Kind::Mailbox { "[store]\nquota_mib = 512\nfree_disk_floor_mib = 16\n" } else { "" };
    let onion = if tor && matches!(node.kind, Kind::Entry | Kind::Mailbox) { "onion = true\n" } else { "" };
    format!(
        "{head}[node]\ndata_dir = \"data\"\nlisten = \"{}\"\nnetwork = \"../network.toml\"\nmetrics = \"{}\"\nlog = \
         \"info\"\n{onion}{tail}",
        node.listen, node.metrics
    )
}

fn authority_config(node: &Node, shape: &Shape) -> String {
    let http = node.http.map(|http| format!("http = \"{http}\"\n")).unwrap_or_default();
    let mut params = String::from("[params]\n");
    if shape.fast {
        params += &format!("speed = {FAST}\nhurry = {HURRY}\nplacement_notice = 2\n");
    }
    for (name, value) in &shape.params {
        params += &format!("{name} = {value}\n");
    }
    format!(
        "data_dir = \"data\"\nlisten = \"{}\"\nnetwork = \"../network.toml\"\nnodes = \"../nodes.toml\"\n\
         handovers = \"../handovers\"\n{http}metrics = \"{}\"\n{params}",
        node.listen, node.metrics
    )
}
