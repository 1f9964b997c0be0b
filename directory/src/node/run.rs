//! Starting and stopping an authority.

use super::{
    core::{Core, INPUTS, Input, Public},
    http,
    links::{self, Shared},
    metrics::Metrics,
};
use crate::{admission, config::Config, store::Store};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use veilpost_daemon::{clock::Clock, keys, metrics::MetricsServer, network, stop::Failure};
use veilpost_link::{Endpoint, Limits, LinkSecret};
use veilpost_packet::{primitives::SigningSecret, random::seeded};
use veilpost_pki::{
    NetworkFile,
    round::{Authority, Ballot},
};

/// How long closing links may take.
const CLOSE: Duration = Duration::from_secs(3);

/// An authority that takes part in voting rounds.
pub struct Node {
    endpoint: Endpoint,
    core: JoinHandle<Result<(), Failure>>,
    stop: watch::Sender<bool>,
    http: Option<http::Server>,
    metrics: Option<MetricsServer>,
}

/// An authority's two keys.
pub struct AuthorityKeys {
    /// Signs votes and documents.
    pub identity: SigningSecret,
    /// Proves it on links.
    pub link: LinkSecret,
}

impl AuthorityKeys {
    /// Reads the keys of a data folder.
    ///
    /// # Errors
    /// [`Failure::Config`] if `init` has not been run.
    pub fn load(data_dir: &Path) -> Result<Self, Failure> {
        let read = |name: &str| keys::read(&data_dir.join(name)).map_err(Failure::config);
        Self::from(read)
    }

    /// Reads the keys of a data folder, or makes them.
    ///
    /// # Errors
    /// [`Failure::Config`].
    pub fn load_or_make(data_dir: &Path) -> Result<Self, Failure> {
        keys::make_folder(data_dir).map_err(Failure::config)?;
        let read = |name: &str| keys::read_or_make(&data_dir.join(name)).map_err(Failure::config);
        Self::from(read)
    }

    fn from(read: impl Fn(&str) -> Result<veilpost_packet::primitives::Secret32, Failure>) -> Result<Self, Failure> {
        let identity = SigningSecret::from_seed(read("identity.key")?.expose());
        Ok(Self { identity, link: LinkSecret::from_seed(*read("link.key")?.expose()) })
    }
}

/// What `run` needs besides its sockets, checked.
pub(crate) fn prepare(config: &Config) -> Result<(NetworkFile, AuthorityKeys, Ballot), Failure> {
    let network = network::load_network(&config.network).map_err(Failure::config)?;
    let keys = AuthorityKeys::load(&config.data_dir)?;
    let params =
        config.ballot_params(&network.schedule).map_err(|error| Failure::config(format!("[params]: {error}")))?;
    let admitted = admission::load(&config.nodes).map_err(Failure::config)?;
    let own = network.reachable().find(|authority| authority.id == keys.identity.authority_id());
    let own = own.ok_or_else(|| {
        Failure::Config(format!(
            "{} does not list this authority ({})",
            config.network.display(),
            keys.identity.authority_id()
        ))
    })?;
    if own.link_key != keys.link.public() {
        return Err(Failure::Config(format!("{} lists another link key for this authority", config.network.display())));
    }
    Ok((network, keys, Ballot { params, admitted }))
}

impl Node {
    /// Opens memory and sockets, and takes part from the next vote on. Must be called inside a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]; nothing has been said then.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        let (network, keys, ballot) = prepare(&config)?;
        let set = network.authority_set().map_err(Failure::config)?;
        let store = Store::open(&config.data_dir).map_err(Failure::runtime)?;
        let stored = store.load().map_err(Failure::runtime)?;
        let (metrics, registry) = Metrics::new();
        let metrics_server = match config.metrics {
            Some(address) => Some(MetricsServer::start(address, registry).await.map_err(Failure::runtime)?),
            None => None,
        };
        let clock = Clock::start();
        let own = keys.identity.authority_id();
        let rng = seeded(*keys::fresh().map_err(Failure::runtime)?.expose());
        let params = ballot.params.clone();
        let admitted = ballot.admitted.len();
        let engine = Authority::new(clock.now(), network.schedule, set, keys.identity, ballot, stored, rng);

        let endpoint = Endpoint::bind(config.listen, &keys.link, Limits::default()).map_err(Failure::runtime)?;
        let (core, inputs) = mpsc::channel::<Input>(INPUTS);
        let (stop, stopping) = watch::channel(false);
        let (public, shown) = watch::channel(Public::default());
        let metrics = Arc::new(metrics);
        let http = match config.http {
            Some(address) => Some(http::Server::start(address, network.name.clone(), shown.clone()).await?),
            None => None,
        };
        let shared = Arc::new(Shared::new(core, shown, &network, Arc::clone(&metrics)));
        let others: Vec<_> = network.reachable().filter(|authority| authority.id != own).cloned().collect();
        let peers: BTreeMap<_, _> = others.iter().map(|authority| (authority.id, None)).collect();
        for peer in others {
            tokio::spawn(links::speak(endpoint.clone(), peer, Arc::clone(&shared)));
        }
        tokio::spawn(links::accept(endpoint.clone(), shared));
        let core = Core {
            engine,
            store,
            clock,
            params,
            admitted,
            peers,
            public,
            metrics,
            events: Vec::new(),
            nodes_read: std::fs::metadata(&config.nodes).and_then(|meta| meta.modified()).ok(),
            handovers_read: None,
            schedule: network.schedule,
            config,
        };
        let core = tokio::spawn(core.run(inputs, stopping));
        tracing::info!("taking part in voting rounds");
        Ok(Self { endpoint, core, stop, http, metrics: metrics_server })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Where the status page is served, if it is.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(http::Server::address)
    }

    /// Where metrics are served, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(MetricsServer::address)
    }

    /// Votes until `stop` completes, or until nothing can be written down any more.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if the disk failed.
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
        self.endpoint.close(CLOSE).await;
        tracing::info!("stopped");
        ended.map_err(Failure::runtime)?
    }
}
