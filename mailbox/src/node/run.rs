//! Starting and stopping a mailbox.

use super::{
    Config,
    core::{Core, INPUTS, Input},
    digests::Publisher,
    links::{Outbounds, Shared, accept},
    metrics::Metrics,
};
use crate::{
    engine::{Arrived, Mailbox, Request, Terms},
    sled_store::SledStore,
};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use veilpost_daemon::{
    clock::Clock, identity::NodeKeys, keys, metrics::MetricsServer, network, stop::Failure, workers::Workers,
};
use veilpost_link::Endpoint;
use veilpost_packet::{
    command::Command,
    ids::NodeId,
    primitives::SigningSecret,
    random::seeded,
    sphinx::{Reject, Unwrapped},
    time::Timestamp,
};
use veilpost_pki::{Document, admission::DropReason, admission::may_go, document::Place};

/// How long closing links may take after the drain.
const CLOSE: Duration = Duration::from_secs(3);

/// A mailbox that accepts links.
pub struct Node {
    endpoint: Endpoint,
    core: oneshot::Receiver<Result<Core, Failure>>,
    inputs: mpsc::SyncSender<Input>,
    stop: watch::Sender<bool>,
    _metrics: Option<MetricsServer>,
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
    /// Opens keys, document, tag log, store and socket, and starts to serve. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]; nothing has been accepted then.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        let clock = Clock::start();
        let network = network::load_network(&config.node.network).map_err(Failure::config)?;
        let document = network::load_document(&config.node.document, &network, clock.now()).map_err(Failure::config)?;
        let keys = NodeKeys::load(&config.node.data_dir).map_err(Failure::config)?;
        if keys.listed(&document).map_err(Failure::config)?.0 != Place::Mailbox {
            return Err(Failure::Config("the network document lists this node in another role".into()));
        }
        let capacity = network::tag_capacity(&document, config.node.capacity);
        let (secret, loaded) = keys.open_epoch(&document, capacity).map_err(Failure::runtime)?;
        let (metrics, registry) = Metrics::new();
        let metrics_server = match config.node.metrics {
            Some(address) => Some(MetricsServer::start(address, registry).await.map_err(Failure::runtime)?),
            None => None,
        };
        let folder = config.node.data_dir.join("boxes");
        let store = SledStore::open(&folder).map_err(|error| {
            Failure::Runtime(format!("{}: {error}; another veilpost-mailbox may be using it", folder.display()))
        })?;
        let limits = veilpost_link::Limits::default();
        let endpoint = Endpoint::bind(config.node.listen, &keys.link, limits).map_err(Failure::runtime)?;

        let terms = Terms { network: document.network, document: document.hash(), params: document.params.clone() };
        let rng = seeded(*keys::fresh().map_err(Failure::runtime)?.expose());
        let signing = own_identity(&config)?;
        let holder = own_identity(&config)?;
        let engine = Mailbox::new(clock.now(), signing, terms, config.store.limits(), store, rng);
        let metrics = Arc::new(metrics);
        let (inputs, received) = mpsc::sync_channel(INPUTS);
        let (stop, stopping) = watch::channel(false);
        let done = worker(document.clone(), holder, inputs.clone(), Arc::clone(&metrics));
        let workers = Workers::start(secret, done).map_err(Failure::runtime)?;
        let outbound = Arc::new(Outbounds::dial(&endpoint, &document, &inputs));
        let core = Core {
            engine: engine.map_err(Failure::runtime)?,
            tag_key: loaded.key,
            tags: loaded.table,
            log: loaded.log,
            clock,
            epoch: document.epoch,
            outbound,
            publisher: Publisher::default(),
            metrics: Arc::clone(&metrics),
            folder: config.node.data_dir.clone(),
            measured: Timestamp::ZERO,
        };
        let (ended, core_end) = oneshot::channel();
        let run = move || {
            // Nobody waits any more: the process is ending.
            let _ = ended.send(core.run(&received));
        };
        std::thread::Builder::new().name("mailbox".into()).spawn(run).map_err(Failure::runtime)?;
        let shared = Shared { clock, document, capacity: config.node.capacity, workers, metrics, stopping };
        tokio::spawn(accept(endpoint.clone(), Arc::new(shared)));
        tracing::info!("serving");
        Ok(Self { endpoint, core: core_end, inputs, stop, _metrics: metrics_server })
    }

    /// Serves until `stop` completes; then takes no more packets, lets replies leave (at most 5 s), closes the links and
    /// marks the tag log as cleanly stopped.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if the tag log failed: the mailbox has stopped then, since it must not answer what it cannot
    /// remember.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let early = tokio::select! {
            () = stop => None,
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
        let Core { outbound, log, .. } = core;
        if let Ok(Outbounds { mixes, entries }) = Arc::try_unwrap(outbound) {
            let links = mixes.into_values().chain(entries.into_values());
            let mut closing: JoinSet<()> = links.map(|link| link.close(CLOSE)).collect();
            while closing.join_next().await.is_some() {}
        }
        self.endpoint.close(CLOSE).await;
        log.close().map_err(Failure::runtime)?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn own_identity(config: &Config) -> Result<SigningSecret, Failure> {
    Ok(NodeKeys::load(&config.node.data_dir).map_err(Failure::config)?.identity)
}

/// What a worker does with unwrapped packets: reads the command and checks its signature, still off the core's thread.
fn worker(
    document: Document,
    holder: SigningSecret,
    core: mpsc::SyncSender<Input>,
    metrics: Arc<Metrics>,
) -> impl Fn(Timestamp, Vec<Result<Unwrapped, Reject>>) -> bool + Send + Sync {
    move |at, unwrapped| {
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

/// A mailbox is a last hop only, and answers only through mixes of layer 1.
fn command(
    document: &Document,
    holder: &SigningSecret,
    at: Timestamp,
    unwrapped: Unwrapped,
) -> Result<Input, DropReason> {
    let Unwrapped::Deliver { tag, surb: None, payload } = unwrapped else { return Err(DropReason::LastHop) };
    let plaintext = payload.open_forward().ok_or(DropReason::Malformed)?;
    let (surb, command) = Command::decode(&plaintext).map_err(|_| DropReason::Malformed)?;
    let first = document.relay(&NodeId(surb.first_hop())).map(|(place, _)| place);
    if !first.is_some_and(|place| may_go(Place::Mailbox, place)) {
        return Err(DropReason::To);
    }
    let request = Request::check(command, &document.network, holder);
    Ok(Input::Command(tag, Box::new(Arrived { at, surb, request })))
}
