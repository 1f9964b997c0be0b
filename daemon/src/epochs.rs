//! The epochs that a node takes packets of: their keys, their replay memory, and when each begins and ends.
//!
//! ```text
//!  watch<Documents> --\                        /-- EpochChange::Open --> core: table, tag log, links to dial
//!                      > follow: Keeper::step --- watch<LiveEpochs> ---> links and workers: keys, who may come
//!  clock -------------/   (files, on a thread) \-- EpochChange::Close -> core: drops table and log
//! ```
//! The order matters: the core knows an epoch before the first packet of it can be unwrapped, and links have let go of one
//! before the core has. An epoch is live from when its document is known until its key's grace period is over, by network time
//! ([`Documents::key_until`]); then key and tag log are erased.
//!
//! A node that the document in force does not list, or whose key of that epoch is lost (an unclean boot, a deleted tag log),
//! takes no packets of it, says so and waits: the next document brings the next key.

use crate::{
    clock::Clock,
    identity::{IdentityError, NodeKeys},
    keys::KeyError,
    taglog::{Loaded, TagLogError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use veilpost_packet::{
    frame::Hello,
    ids::{DocumentHash, LinkKey, NodeId},
    sphinx::SphinxSecret,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Document, Documents, Params, Relay, Role,
    admission::{BUCKET_SLACK, may_go},
    document::Place,
};

/// A node that waits for a document says so this often at most, and looks at the clock at least this often.
const REMIND: Duration = Duration::from_secs(60);
/// Tags that a table holds at least and at most (16 to 22 bytes each in memory, once used: at most 1 GiB).
const TAGS: (usize, usize) = (1 << 16, 1 << 26);

/// An epoch whose key this node has.
#[derive(Debug, Clone)]
pub struct LiveEpoch {
    /// Its document.
    pub document: Document,
    /// What this node does in it.
    pub place: Place,
    /// Unwraps its packets.
    pub secret: Arc<SphinxSecret>,
    /// Replay tags that its table may hold now: see [`tags_max`].
    pub tags_max: usize,
}

/// What links and workers must know at one moment.
#[derive(Debug, Clone, Default)]
pub struct LiveEpochs {
    documents: Documents,
    numbers: Vec<Epoch>,
    epochs: Vec<LiveEpoch>,
}

impl LiveEpochs {
    fn new(documents: Documents, epochs: Vec<LiveEpoch>) -> Self {
        Self { documents, numbers: epochs.iter().map(|live| live.document.epoch).collect(), epochs }
    }

    /// Numbers of the live epochs, ascending.
    pub fn numbers(&self) -> &[Epoch] {
        &self.numbers
    }

    /// The live epochs, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &LiveEpoch> {
        self.epochs.iter()
    }

    /// A live epoch.
    pub fn get(&self, epoch: Epoch) -> Option<&LiveEpoch> {
        self.epochs.iter().find(|live| live.document.epoch == epoch)
    }

    /// All documents known, those that do not list this node too.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The hello of this node: it names the newest document that it knows.
    pub fn hello(&self) -> Hello {
        Hello::node(self.documents.newest().map_or(DocumentHash::default(), Document::hash))
    }

    /// The node that proves this link key, as the newest live epoch that lists it does, for which `allowed` says yes to (our
    /// place, its place). `Some(None)`: a live document lists it, but it has no business here. `None`: no node.
    pub fn peer(&self, key: &LinkKey, allowed: impl Fn(Place, Place) -> bool) -> Option<Option<NodeId>> {
        let listed = |live: &LiveEpoch| {
            let (place, relay) = live.document.relay_by_link(key)?;
            Some((relay.id, allowed(live.place, place)))
        };
        let all: Vec<_> = self.epochs.iter().rev().filter_map(listed).collect();
        let first = all.iter().find(|(_, allowed)| *allowed).map(|(id, _)| *id);
        (!all.is_empty()).then_some(first)
    }

    /// Every node that packets of a live epoch may go to, as the newest epoch lists it.
    pub fn next_hops(&self) -> BTreeMap<NodeId, &Relay> {
        self.relays(may_go)
    }

    /// Every relay of a live epoch for which `wanted` says yes to (our place, its place), as the newest epoch lists it.
    pub fn relays(&self, wanted: impl Fn(Place, Place) -> bool) -> BTreeMap<NodeId, &Relay> {
        let all =
            self.epochs.iter().flat_map(|live| live.document.relays().map(move |(to, relay)| (live.place, to, relay)));
        // Ascending by epoch: later ones replace earlier ones.
        all.filter(|(ours, to, _)| wanted(*ours, *to)).map(|(_, _, relay)| (relay.id, relay)).collect()
    }
}

/// An epoch that became live: its replay memory.
#[derive(Debug)]
pub struct Opened {
    /// Which.
    pub epoch: Epoch,
    /// Log, tag key and table.
    pub memory: Loaded,
}

/// What a node's core is told.
#[derive(Debug)]
pub enum EpochChange {
    /// Documents, live epochs or their limits are others; `opened` are new.
    Open {
        /// As links see it from now on.
        live: Arc<LiveEpochs>,
        /// Replay memory of the new ones.
        opened: Vec<Opened>,
    },
    /// These are live no more: their files are erased.
    Close(Vec<Epoch>),
}

/// What the document in force lacks for this node to relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// None is in force.
    Document,
    /// It does not list this node as it is.
    Listing(&'static str),
    /// This epoch's key is gone.
    Key(Epoch),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("waiting for a network document that is in force"),
            Self::Listing(why) => write!(f, "waiting to be listed: the network document in force {why}"),
            Self::Key(epoch) => {
                write!(f, "the Sphinx key of epoch {} is gone: waiting for the next epoch to rejoin", epoch.0)
            }
        }
    }
}

/// One step of a [`Keeper`].
#[derive(Debug)]
pub struct Step {
    /// As it is from now on.
    pub live: Arc<LiveEpochs>,
    /// New.
    pub opened: Vec<Opened>,
    /// Gone.
    pub closed: Vec<Epoch>,
    /// Why no packets of the epoch in force are taken, if they are not.
    pub waiting: Option<Waiting>,
    /// A key or log that could not be used for a reason that is no part of a node's life.
    pub problem: Option<IdentityError>,
}

/// Opens, closes and erases the epochs of a node as documents and time say. Reads and writes files; takes time as an argument.
#[derive(Debug)]
pub struct Keeper {
    keys: Arc<NodeKeys>,
    role: Role,
    capacity: u32,
    open: BTreeMap<Epoch, Arc<SphinxSecret>>,
    /// Epochs whose key cannot be used, so that it is not tried at every step; those of known documents alone.
    lost: BTreeSet<Epoch>,
}

impl Keeper {
    /// For a node with these keys, in this role, that carries `capacity` packets a second.
    pub fn new(keys: Arc<NodeKeys>, role: Role, capacity: u32) -> Self {
        Self { keys, role, capacity, open: BTreeMap::new(), lost: BTreeSet::new() }
    }

    /// Looks at documents and time.
    pub fn step(&mut self, now: Timestamp, documents: &Documents) -> Step {
        let live: Vec<Document> = documents.live(now).cloned().collect();
        let closed = self.close(&live);
        let (mut opened, mut problem) = (Vec::new(), None);
        for document in &live {
            match self.open(document, tags_max(now, documents, document, self.capacity)) {
                Ok(new) => opened.extend(new),
                Err(error) => problem = Some(error),
            }
        }
        if let Some(in_force) = documents.in_force(now) {
            let kept: Vec<_> = self.open.keys().copied().collect();
            if let Err(error) = self.keys.erase_before(in_force.epoch, &kept) {
                tracing::error!(%error, "keys of past epochs could not be erased");
            }
        }
        let waiting = self.waiting(now, documents);
        let alive = live.into_iter().filter_map(|document| self.live(now, documents, document));
        let live = Arc::new(LiveEpochs::new(documents.clone(), alive.collect()));
        Step { live, opened, closed, waiting, problem }
    }

    fn close(&mut self, live: &[Document]) -> Vec<Epoch> {
        let alive = |epoch: &Epoch| live.iter().any(|document| document.epoch == *epoch);
        self.lost.retain(alive);
        let closed: Vec<_> = self.open.keys().copied().filter(|epoch| !alive(epoch)).collect();
        for epoch in &closed {
            self.open.remove(epoch);
            if let Err(error) = self.keys.erase_epoch(*epoch) {
                tracing::error!(%error, "the key of a past epoch could not be erased");
            }
        }
        closed
    }

    /// Opens an epoch that is not open yet. An error is a reason for a person to look; the others are part of a node's life.
    fn open(&mut self, document: &Document, tags: usize) -> Result<Option<Opened>, IdentityError> {
        let epoch = document.epoch;
        if self.open.contains_key(&epoch) || self.lost.contains(&epoch) {
            return Ok(None);
        }
        if self.keys.listed_as(document, self.role).is_err() {
            return Ok(None);
        }
        match self.keys.open_epoch(document, tags) {
            Ok((secret, memory)) => {
                self.open.insert(epoch, Arc::new(secret));
                Ok(Some(Opened { epoch, memory }))
            }
            Err(error) => {
                self.lost.insert(epoch);
                tracing::warn!(epoch = epoch.0, %error, "no packets of this epoch are taken");
                match error {
                    IdentityError::NotListed(_)
                    | IdentityError::Key(KeyError::Missing { .. })
                    | IdentityError::TagLog(TagLogError::UncleanBoot { .. } | TagLogError::Missing { .. }) => Ok(None),
                    other => Err(other),
                }
            }
        }
    }

    fn live(&self, now: Timestamp, documents: &Documents, document: Document) -> Option<LiveEpoch> {
        let secret = Arc::clone(self.open.get(&document.epoch)?);
        let place = self.keys.listed_as(&document, self.role).ok()?;
        Some(LiveEpoch { place, secret, tags_max: tags_max(now, documents, &document, self.capacity), document })
    }

    fn waiting(&self, now: Timestamp, documents: &Documents) -> Option<Waiting> {
        let Some(document) = documents.in_force(now) else { return Some(Waiting::Document) };
        if self.open.contains_key(&document.epoch) {
            return None;
        }
        match self.keys.listed_as(document, self.role) {
            Err(IdentityError::NotListed(why)) => Some(Waiting::Listing(why)),
            _ => Some(Waiting::Key(document.epoch)),
        }
    }
}

/// Replay tags that an epoch's table may hold: what the links can carry in the half epoch before it, its own epoch and the
/// grace period, and an epoch more for each voting round that failed since, when it did. So a flood fills what one epoch may
/// take and no more, and a network whose rounds fail goes on. Beyond it the node is closed to that epoch.
pub fn tags_max(now: Timestamp, documents: &Documents, document: &Document, capacity: u32) -> usize {
    let Params { epoch, key_grace, .. } = document.params;
    let epochs = f64::from(documents.failed_rounds(now, document.epoch)) + 1.5;
    let packets = (epoch.as_secs_f64() * epochs + key_grace.as_secs_f64()) * f64::from(capacity) * BUCKET_SLACK;
    (packets as usize).clamp(TAGS.0, TAGS.1)
}

/// Takes a keeper through its node's life: a step whenever a document comes or the time for one has come. `tell` hands a change
/// to the node's core and returns false when there is none any more. Ends then, and when `stop` turns true.
pub async fn follow<F: Future<Output = bool> + Send>(
    keeper: Keeper,
    mut reminder: Reminder,
    clock: Clock,
    mut documents: watch::Receiver<Documents>,
    live: watch::Sender<Arc<LiveEpochs>>,
    mut stop: watch::Receiver<bool>,
    mut tell: impl FnMut(EpochChange) -> F + Send,
) {
    let mut keeper = Some(keeper);
    loop {
        let known = documents.borrow_and_update().clone();
        let Some(mut held) = keeper.take() else { return };
        let now = clock.now();
        let stepping = tokio::task::spawn_blocking(move || {
            let step = held.step(now, &known);
            (held, known, step)
        });
        let Ok((held, known, step)) = stepping.await else { return };
        keeper = Some(held);
        reminder.remind(now, step.waiting);
        if !tell(EpochChange::Open { live: Arc::clone(&step.live), opened: step.opened }).await {
            return;
        }
        live.send_replace(step.live);
        if !step.closed.is_empty() && !tell(EpochChange::Close(step.closed)).await {
            return;
        }
        let wait = known.next_change(now).map_or(REMIND, |next| clock.until(next).min(REMIND));
        tokio::select! {
            // Time goes on after the last source is gone.
            Ok(()) = documents.changed() => {}
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|&stop| stop) => return,
        }
    }
}

/// Says whether a node relays or what it waits for: when that changes, and each minute while it waits.
#[derive(Debug, Default)]
pub struct Reminder {
    said: Option<(Option<Waiting>, Timestamp)>,
}

impl Reminder {
    /// Logs how it is, if it is time to.
    pub fn remind(&mut self, now: Timestamp, waiting: Option<Waiting>) {
        let enough = |(what, when): &(Option<Waiting>, Timestamp)| {
            *what == waiting && (waiting.is_none() || now.since(*when) < REMIND)
        };
        if self.said.as_ref().is_some_and(enough) {
            return;
        }
        match &waiting {
            None => tracing::info!("relaying: the network document in force lists this node"),
            Some(waiting) => tracing::info!("{waiting}"),
        }
        self.said = Some((waiting, now));
    }
}

#[cfg(test)]
mod tests;
