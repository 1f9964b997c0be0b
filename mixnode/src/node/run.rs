//! Starting and stopping a relay.

use super::{
    Config,
    core::{Core, INPUTS, Input},
    links::{Shared, accept},
    metrics::Metrics,
};
use crate::{Engine, EngineConfig, Limits, Origin, admission::may_go};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use veilpost_daemon::{
    clock::Clock, identity::NodeKeys, keys, metrics::MetricsServer, network, stop::Failure, workers::Workers,
};
use veilpost_link::{Endpoint, Outbound};
use veilpost_packet::{frame::Hello, ids::NodeId, random::seeded, sphinx::SphinxSecret};
use veilpost_pki::{Document, Role, document::Place};

/// Frames that wait for a link to a next node: half a second of a small node's capacity, and 2.3 MB.
const LINK_QUEUE: usize = 512;
/// Links at one time: clients, and every node twice.
const LINKS: usize = 8_192;
/// How long closing links may take after the drain.
const CLOSE: Duration = Duration::from_secs(3);

/// A relay that accepts links.
pub struct Node {
    endpoint: Endpoint,
    core: JoinHandle<Result<Core, Failure>>,
    stop: watch::Sender<bool>,
    metrics: Option<MetricsServer>,
}

impl veilpost_daemon::command::Relay for Node {
    type Config = Config;

    fn load(path: &std::path::Path) -> Result<Config, Failure> {
        Config::load(path)
    }

    fn log_level(config: &Config) -> &str {
        &config.node.log
    }

    fn init(config: &Config, epoch: u64) -> Result<(), Failure> {
        super::init(config, epoch)
    }

    fn check(config: &Config) -> Result<(), Failure> {
        super::check(config)
    }

    async fn start(config: Config) -> Result<Self, Failure> {
        Node::start(config).await
    }

    async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        Node::run(self, stop).await
    }
}

impl Node {
    /// Opens keys, document, tag log and socket, and starts to relay. Must be called inside a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]; nothing has been accepted then.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        let clock = Clock::start();
        let network = network::load_network(&config.node.network).map_err(Failure::config)?;
        let document = network::load_document(&config.node.document, &network, clock.now()).map_err(Failure::config)?;
        let keys = NodeKeys::load(&config.node.data_dir).map_err(Failure::config)?;
        let (place, _) = keys.listed(&document).map_err(Failure::config)?;
        if (config.role == Role::Entry) != (place == Place::Entry) || place == Place::Mailbox {
            return Err(Failure::Config("the network document lists this node in another role".into()));
        }
        let (secret, loaded) = keys
            .open_epoch(&document, network::tag_capacity(&document, config.node.capacity))
            .map_err(Failure::runtime)?;

        let (metrics, registry) = Metrics::new();
        let metrics_server = match config.node.metrics {
            Some(address) => Some(MetricsServer::start(address, registry).await.map_err(Failure::runtime)?),
            None => None,
        };
        let limits = veilpost_link::Limits { links: LINKS, ..veilpost_link::Limits::default() };
        let endpoint = Endpoint::bind(config.node.listen, &keys.link, limits).map_err(Failure::runtime)?;

        let engine =
            EngineConfig { id: keys.id(), document: document.clone(), limits: engine_limits(&config, &document) };
        let rng = seeded(*keys::fresh().map_err(Failure::runtime)?.expose());
        let engine = Engine::new(engine, loaded.key, loaded.table, rng)
            .ok_or_else(|| Failure::Config("the network document does not list this node as a relay".into()))?;

        let metrics = Arc::new(metrics);
        let (stop, stopping) = watch::channel(false);
        let (core, inputs) = mpsc::channel::<Input>(INPUTS);
        let workers = start_workers(secret, core.clone(), &metrics).map_err(Failure::runtime)?;
        let outbound = dial_all(&endpoint, &document, place);
        let capacity = config.node.capacity;
        let links = Mutex::new(HashMap::new());
        let shared = Arc::new(Shared { clock, document, place, capacity, workers, core, metrics, stopping, links });
        let core = Core {
            engine,
            log: loaded.log,
            shared: Arc::clone(&shared),
            outbound,
            clients: HashMap::new(),
            counted: BTreeMap::new(),
        };
        let core = tokio::spawn(core.run(inputs));
        tokio::spawn(accept(endpoint.clone(), shared));
        tracing::info!(role = %config.role, "relaying");
        Ok(Self { endpoint, core, stop, metrics: metrics_server })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Where metrics are served, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(MetricsServer::address)
    }

    /// Relays until `stop` completes; then takes no more packets, lets those that wait leave (at most 5 s), closes the links
    /// (at most 3 s) and marks the tag log as cleanly stopped.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if the tag log failed: the node has stopped then, since it must not forward what it cannot
    /// remember.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let early = tokio::select! {
            () = stop => None,
            ended = &mut self.core => Some(ended),
        };
        self.stop.send_replace(true);
        let ended = match early {
            Some(ended) => ended,
            None => (&mut self.core).await,
        };
        let core = ended.map_err(Failure::runtime)??;
        let mut closing: JoinSet<()> = core.outbound.into_values().map(|link| link.close(CLOSE)).collect();
        while closing.join_next().await.is_some() {}
        self.endpoint.close(CLOSE).await;
        core.log.close().map_err(Failure::runtime)?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn start_workers(
    secret: SphinxSecret,
    core: mpsc::Sender<Input>,
    metrics: &Metrics,
) -> std::io::Result<Workers<Origin>> {
    let times = metrics.unwrap.clone();
    let observe = move |time: Duration| times.observe(time.as_secs_f64());
    // The core is gone when the node stops: then the threads end.
    Workers::start_observed(secret, observe, move |origin, results| {
        core.blocking_send(Input::Unwrapped(origin, results)).is_ok()
    })
}

/// "Mixes of layer i dial layer i+1; layer 3 dials entries and mailboxes; entries dial layer 1."
fn dial_all(endpoint: &Endpoint, document: &Document, place: Place) -> BTreeMap<NodeId, Outbound> {
    let next = document.relays().filter(|(to, _)| may_go(place, *to));
    let hello = Hello::node(document.hash()).to_frame();
    let dial = |relay: &veilpost_pki::Relay| {
        let hello = hello.clone();
        let address = relay.addresses.first()?;
        // Nothing comes back over these links, so nobody listens to their events.
        let (link, _events) =
            Outbound::start(endpoint.clone(), *address, relay.link_key, LINK_QUEUE, move |_| hello.clone());
        Some((relay.id, link))
    };
    next.filter_map(|(_, relay)| dial(relay)).collect()
}

/// The delay queue holds eight mean delays of the node's capacity: more means that the node takes more than it offers.
fn engine_limits(config: &Config, document: &Document) -> Limits {
    let usual = document.params.hop_delay.as_secs_f64() * f64::from(config.node.capacity);
    Limits { delayed: ((usual * 8.0) as usize).clamp(1_024, 65_536), ..Limits::default() }
}
