//! What every relay's start has in common: keys, documents, live epochs.

use crate::{
    authorities::{self, Publisher},
    clock::Clock,
    config::NodeConfig,
    documents::{DocumentHub, OfferError, follow_file},
    epochs::{EpochChange, Keeper, LiveEpochs, Reminder, follow},
    identity::NodeKeys,
    network, observed, onion,
    stop::Failure,
};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use veilpost_link::{Arrival, Endpoint, Limits};
use veilpost_packet::ids::NetworkId;
use veilpost_pki::{DocumentError, NetworkFile, Role};

/// A relay's keys, documents and epochs, before anything runs.
#[derive(Debug)]
pub struct Epochs {
    /// The node's long-lived keys.
    pub keys: Arc<NodeKeys>,
    /// The network's id.
    pub network: NetworkId,
    /// Where sources bring documents.
    pub documents: DocumentHub,
    /// What the node's core writes here stands in its next descriptor.
    pub observed: observed::Shared,
    clock: Clock,
    role: Role,
    config: NodeConfig,
    file: NetworkFile,
    keeper: Keeper,
    reminder: Reminder,
    live: watch::Sender<Arc<LiveEpochs>>,
}

impl Epochs {
    /// Opens keys, network file, kept documents and the document's file, and the epochs that are live now: returns what the core
    /// is to be told first. A node that no document in force lists is no error: it waits.
    ///
    /// # Errors
    /// [`Failure::Config`] for what a person must mend: no keys, no network file, a document of strangers.
    /// [`Failure::Runtime`] for a key or tag log that cannot be used, such as one that another process uses.
    pub fn open(config: &NodeConfig, role: Role, clock: Clock) -> Result<(Self, EpochChange), Failure> {
        let file = network::load_network(&config.network).map_err(Failure::config)?;
        let authorities = file.authority_set().map_err(Failure::config)?;
        let network = authorities.network();
        let keys = Arc::new(NodeKeys::load(&config.data_dir).map_err(Failure::config)?);
        let folder = config.data_dir.join("documents");
        let documents = DocumentHub::open(&folder, authorities, clock).map_err(Failure::runtime)?;
        if let Some(path) = config.document.as_deref().filter(|path| path.exists()) {
            let bytes = network::read_document(path).map_err(Failure::config)?;
            match documents.offer(&bytes) {
                // An old file beside newer documents, or one whose time is not now: the node goes on or waits.
                Ok(_) => {}
                Err(OfferError::NotTaken(why)) => tracing::warn!(%why, "the network document's file is not taken"),
                Err(OfferError::Document(error @ (DocumentError::Expired | DocumentError::NotYetValid))) => {
                    tracing::warn!(%error, "the network document's file is not taken");
                }
                Err(error) => return Err(Failure::Config(format!("{}: {error}", path.display()))),
            }
        }
        let mut keeper = Keeper::new(Arc::clone(&keys), role, config.capacity);
        let step = keeper.step(clock.now(), &documents.subscribe().borrow());
        if let Some(problem) = step.problem {
            return Err(Failure::runtime(problem));
        }
        let mut reminder = Reminder::default();
        reminder.remind(clock.now(), step.waiting);
        let live = watch::channel(Arc::clone(&step.live)).0;
        let first = EpochChange::Open { live: step.live, opened: step.opened };
        Ok((
            Self {
                keys,
                network,
                documents,
                observed: Default::default(),
                clock,
                role,
                config: config.clone(),
                file,
                keeper,
                reminder,
                live,
            },
            first,
        ))
    }

    /// The live epochs, now and from then on.
    pub fn live(&self) -> watch::Receiver<Arc<LiveEpochs>> {
        self.live.subscribe()
    }

    /// Publishes the node's onion service, if it is to have one: see [`onion::start`].
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start_onion(
        &self,
        limits: Limits,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<mpsc::Receiver<Arrival>>, Failure> {
        onion::start(&self.config, &self.file, &self.keys.link, self.role, limits, stop)
    }

    /// Starts to follow documents and time, until `stop` turns true. `tell` is [`follow`]'s.
    pub fn run<F: Future<Output = bool> + Send + 'static>(
        self,
        endpoint: Endpoint,
        stop: &watch::Receiver<bool>,
        tell: impl FnMut(EpochChange) -> F + Send + 'static,
    ) {
        let Self { documents, observed, clock, keeper, reminder, live, keys, role, config, file: network, .. } = self;
        let known = documents.subscribe();
        match config.document.clone() {
            Some(path) => drop(tokio::spawn(follow_file(documents, path, stop.clone()))),
            None => {
                let signing = tokio::sync::Mutex::default();
                let publisher = Publisher { network, keys, config, role, clock, documents, observed, signing };
                tokio::spawn(authorities::follow(publisher, endpoint, stop.clone()));
            }
        }
        tokio::spawn(follow(keeper, reminder, clock, known, live, stop.clone(), tell));
    }
}
