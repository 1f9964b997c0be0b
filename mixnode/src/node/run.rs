//! Starting and stopping a relay.

use super::{
    Config,
    core::{Core, INPUTS, Input},
    links::{Shared, accept, accept_onion},
    metrics::Metrics,
};
use crate::{Engine, Limits, Origin};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use veilpost_daemon::{
    clock::Clock,
    config::NodeConfig,
    epochs::LiveEpochs,
    keys, leave,
    links::{Accepted, Dialed},
    metrics::MetricsServer,
    start::Epochs,
    stop::Failure,
    workers::Workers,
};
use veilpost_link::Endpoint;
use veilpost_packet::{random::seeded, time::Epoch};
use veilpost_pki::Descriptor;

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
    data_dir: PathBuf,
    clock: Clock,
    live: watch::Receiver<Arc<LiveEpochs>>,
    metrics: Option<MetricsServer>,
}

impl veilpost_daemon::command::Relay for Node {
    type Config = Config;

    fn load(path: &std::path::Path) -> Result<Config, Failure> {
        Config::load(path)
    }

    fn node(config: &Config) -> &NodeConfig {
        &config.node
    }

    fn init(config: &Config, epoch: u64) -> Result<Descriptor, Failure> {
        super::init(config, epoch)
    }

    async fn start(config: Config) -> Result<Self, Failure> {
        Node::start(config).await
    }

    async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        Node::run(self, stop).await
    }
}

impl Node {
    /// Opens keys, documents, tag logs and socket, and starts to relay as soon as a document in force lists this node. Must be
    /// called inside a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]; nothing has been accepted then.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        let clock = Clock::start();
        let (epochs, first) = Epochs::open(&config.node, config.role, clock)?;
        let (metrics, registry) = Metrics::new();
        let metrics_server = match config.node.metrics {
            Some(address) => Some(MetricsServer::start(address, registry).await.map_err(Failure::runtime)?),
            None => None,
        };
        let bounds = veilpost_link::Limits { links: LINKS, ..veilpost_link::Limits::default() };
        let endpoint = Endpoint::bind(config.node.listen, &epochs.keys.link, bounds).map_err(Failure::runtime)?;

        let limits = Limits { sessions: config.sessions, ..Limits::default() };
        let rng = seeded(*keys::fresh().map_err(Failure::runtime)?.expose());
        let engine = Engine::idle(epochs.keys.id(), limits, rng);

        let metrics = Arc::new(metrics);
        let (stop, stopping) = watch::channel(false);
        let (core, inputs) = mpsc::channel::<Input>(INPUTS);
        let workers = start_workers(core.clone(), &metrics).map_err(Failure::runtime)?;
        let shared = Arc::new(Shared {
            clock,
            live: epochs.live(),
            capacity: config.node.capacity,
            workers,
            core: core.clone(),
            metrics,
            stopping: stopping.clone(),
            accepted: Accepted::default(),
        });
        let mut relay = Core {
            engine,
            logs: BTreeMap::new(),
            shared: Arc::clone(&shared),
            outbound: Dialed::new(endpoint.clone(), LINK_QUEUE, epochs.live()),
            live: Arc::new(LiveEpochs::default()),
            clients: HashMap::new(),
            counted: BTreeMap::new(),
            observed: epochs.observed.clone(),
        };
        let live = epochs.live();
        let onion = epochs.start_onion(bounds, &stopping)?;
        relay.follow(first);
        let relay = tokio::spawn(relay.run(inputs));
        epochs.run(endpoint.clone(), &stopping, move |change| {
            let core = core.clone();
            async move { core.send(Input::Epochs(Box::new(change))).await.is_ok() }
        });
        if let Some(arrivals) = onion {
            tokio::spawn(accept_onion(arrivals, Arc::clone(&shared)));
        }
        tokio::spawn(accept(endpoint.clone(), shared));
        tracing::info!(role = %config.role, "started");
        Ok(Self { endpoint, core: relay, stop, data_dir: config.node.data_dir, clock, live, metrics: metrics_server })
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
    /// (at most 3 s) and marks the tag logs as cleanly stopped.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if the tag log failed: the node has stopped then, since it must not forward what it cannot
    /// remember.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let early = tokio::select! {
            () = stop => None,
            () = leave::left(&self.data_dir, self.clock, &self.live) => None,
            ended = &mut self.core => Some(ended),
        };
        self.stop.send_replace(true);
        let ended = match early {
            Some(ended) => ended,
            None => (&mut self.core).await,
        };
        let core = ended.map_err(Failure::runtime)??;
        core.outbound.close(CLOSE).await;
        self.endpoint.close(CLOSE).await;
        for log in core.logs.into_values() {
            log.close().map_err(Failure::runtime)?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn start_workers(core: mpsc::Sender<Input>, metrics: &Metrics) -> std::io::Result<Workers<(Epoch, Origin)>> {
    let times = metrics.unwrap.clone();
    let observe = move |time: Duration| times.observe(time.as_secs_f64());
    // The core is gone when the node stops: then the threads end.
    Workers::start_observed(observe, move |(epoch, origin), results| {
        core.blocking_send(Input::Unwrapped(epoch, origin, results)).is_ok()
    })
}
