//! Starting and stopping a mailbox.

use super::{
    Config,
    core::{Core, INPUTS, Input, Outbounds},
    digests::Publisher,
    direct::{self, Streams},
    links::{Shared, accept},
    metrics::Metrics,
};
use crate::{
    engine::{Arrived, Back, Mailbox, Request, Terms},
    stores,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use veilpost_cover::Cover;
use veilpost_daemon::{
    clock::Clock, config::NodeConfig, epochs::LiveEpochs, identity::NodeKeys, keys, leave, links::Accepted,
    metrics::MetricsServer, start::Epochs, stop::Failure, workers::Workers,
};
use veilpost_link::Endpoint;
use veilpost_packet::{
    command::Command,
    ids::{DocumentHash, NodeId},
    primitives::SigningSecret,
    random::seeded,
    sphinx::{Reject, Unwrapped},
    time::Timestamp,
};
use veilpost_pki::{
    Descriptor, Document, Params, Role,
    admission::{DropReason, may_go},
    document::Place,
};

/// How long closing links may take after the drain.
const CLOSE: Duration = Duration::from_secs(3);

/// A mailbox that accepts links.
pub struct Node {
    endpoint: Endpoint,
    core: oneshot::Receiver<Result<Core, Failure>>,
    inputs: mpsc::SyncSender<Input>,
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
    /// Opens keys, documents, tag logs, store and socket, and starts to serve as soon as a document in force lists this
    /// mailbox. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]; nothing has been accepted then.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        let clock = Clock::start();
        let (epochs, first) = Epochs::open(&config.node, Role::Mailbox, clock)?;
        let (metrics, registry) = Metrics::new();
        let metrics_server = match config.node.metrics {
            Some(address) => Some(MetricsServer::start(address, registry).await.map_err(Failure::runtime)?),
            None => None,
        };
        let folder = config.node.data_dir.join("boxes");
        let store = stores::open(config.store.engine, &folder).map_err(Failure::runtime)?;
        let limits = veilpost_link::Limits::default();
        let endpoint = Endpoint::bind(config.node.listen, &epochs.keys.link, limits).map_err(Failure::runtime)?;

        // Until a document is in force, which comes with the core's first look at the time.
        let terms = Terms {
            network: epochs.network,
            document: DocumentHash::default(),
            params: Params::standard(),
            placement: Vec::new(),
            copies: 1,
            durable_copies: 1,
            listed: std::collections::BTreeSet::new(),
        };
        let rng = seeded(*keys::fresh().map_err(Failure::runtime)?.expose());
        let signing = own_identity(&config)?;
        let holder = Arc::new(own_identity(&config)?);
        let me = signing.node_id();
        let cover = Cover::new(me, seeded(*keys::fresh().map_err(Failure::runtime)?.expose()));
        let engine = Mailbox::new(clock.now(), signing, terms, config.store.limits(), store, rng);
        let metrics = Arc::new(metrics);
        let (inputs, received) = mpsc::sync_channel(INPUTS);
        let (stop, stopping) = watch::channel(false);
        let done = worker(Arc::clone(&holder), inputs.clone(), Arc::clone(&metrics));
        let workers = Workers::start(done).map_err(Failure::runtime)?;
        let mut core = Core {
            engine: engine.map_err(Failure::runtime)?,
            cover,
            memory: BTreeMap::new(),
            live: Arc::new(LiveEpochs::default()),
            listed: false,
            clock,
            outbound: Outbounds::new(&endpoint, me, &epochs.live(), inputs.clone()),
            publisher: Publisher::default(),
            streams: Streams::default(),
            metrics: Arc::clone(&metrics),
            folder: config.node.data_dir.clone(),
            measured: Timestamp::ZERO,
            observed: epochs.observed.clone(),
        };
        let live = epochs.live();
        core.follow(first);
        core.measure();
        let (ended, core_end) = oneshot::channel();
        let run = move || {
            // Nobody waits any more: the process is ending.
            let _ = ended.send(core.run(&received));
        };
        std::thread::Builder::new().name("mailbox".into()).spawn(run).map_err(Failure::runtime)?;
        let onion = epochs.start_onion(limits, &stopping)?;
        let shared = Arc::new(Shared {
            clock,
            live: epochs.live(),
            capacity: config.node.capacity,
            workers,
            accepted: Accepted::default(),
            metrics,
            core: inputs.clone(),
            holder,
            stopping: stopping.clone(),
        });
        let core = inputs.clone();
        epochs.run(endpoint.clone(), &stopping, move |change| {
            let core = core.clone();
            // The core may be waiting for its disk.
            let told = tokio::task::spawn_blocking(move || core.send(Input::Epochs(Box::new(change))).is_ok());
            async move { told.await.unwrap_or(false) }
        });
        if let Some(arrivals) = onion {
            tokio::spawn(direct::accept(arrivals, Arc::clone(&shared)));
        }
        tokio::spawn(accept(endpoint.clone(), shared));
        tracing::info!("started");
        let data_dir = config.node.data_dir;
        Ok(Self { endpoint, core: core_end, inputs, stop, data_dir, clock, live, metrics: metrics_server })
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

    /// Serves until `stop` completes; then takes no more packets, lets replies leave (at most 5 s), closes the links and
    /// marks the tag logs as cleanly stopped.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if the tag log failed: the mailbox has stopped then, since it must not answer what it cannot
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
            None => {
                let inputs = self.inputs.clone();
                let _ = tokio::task::spawn_blocking(move || inputs.send(Input::Stop)).await;
                (&mut self.core).await
            }
        };
        let core = ended.map_err(|_| Failure::Runtime("the mailbox's thread ended by a fault of its own".into()))??;
        let Core { outbound, memory, .. } = core;
        tokio::join!(outbound.mixes.close(CLOSE), outbound.entries.close(CLOSE), outbound.peers.close(CLOSE));
        self.endpoint.close(CLOSE).await;
        for memory in memory.into_values() {
            memory.log.close().map_err(Failure::runtime)?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn own_identity(config: &Config) -> Result<SigningSecret, Failure> {
    Ok(NodeKeys::load(&config.node.data_dir).map_err(Failure::config)?.identity)
}

/// What a worker does with unwrapped packets: reads the command and checks puzzle and signature, still off the core's thread.
fn worker(
    holder: Arc<SigningSecret>,
    core: mpsc::SyncSender<Input>,
    metrics: Arc<Metrics>,
) -> impl Fn((Timestamp, Document), Vec<Result<Unwrapped, Reject>>) -> bool + Send + Sync {
    move |(at, document), unwrapped| {
        for result in unwrapped {
            let input =
                result.map_err(DropReason::from).and_then(|unwrapped| command(&document, &holder, at, unwrapped));
            match input {
                Ok(input) => {
                    if core.send(input).is_err() {
                        return false;
                    }
                }
                Err(reason) => drop(metrics.dropped(reason).inc()),
            }
        }
        true
    }
}

/// A mailbox is a last hop only, of commands and of its own loops, and answers only through mixes of layer 1, of the packet's own epoch.
fn command(
    document: &Document,
    holder: &SigningSecret,
    at: Timestamp,
    unwrapped: Unwrapped,
) -> Result<Input, DropReason> {
    let (tag, payload) = match unwrapped {
        Unwrapped::Deliver { tag, surb: None, payload } => (tag, payload),
        Unwrapped::Deliver { tag, surb: Some(id), payload } => {
            return Ok(Input::Returned(tag, document.epoch, id, payload));
        }
        Unwrapped::Forward { .. } => return Err(DropReason::LastHop),
    };
    let plaintext = payload.open_forward().ok_or(DropReason::Malformed)?;
    let (surb, command) = Command::decode(&plaintext).map_err(|_| DropReason::Malformed)?;
    let first = document.relay(&NodeId(surb.first_hop())).map(|(place, _)| place);
    if !first.is_some_and(|place| may_go(Place::Mailbox, place)) {
        return Err(DropReason::To);
    }
    let request = Request::check(command, &document.put_admission(), holder);
    Ok(Input::Command(
        tag,
        Box::new(Arrived { at, epoch: document.epoch, document: document.hash(), back: Back::Surb(surb), request }),
    ))
}
