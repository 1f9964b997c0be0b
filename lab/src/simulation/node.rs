//! What mixes, entries and mailboxes have in common: a disk, a clock, documents, the keys of epochs, dealings with authorities.
//! The shell that `daemon` is in a real network (`epochs::Keeper`, `authorities::follow`), without its files and sockets.

use super::packets::Opener;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_daemon::{
    authorities::{Errand, Plan},
    observed::Observed,
};
use veilpost_packet::{
    frame::Flags,
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    random::{EngineRng, bytes},
    replay::{Tag, TagKey, TagTable},
    sphinx::SphinxSecret,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, Documents, NetworkFile, Role, UnverifiedDocument, descriptor::SPHINX_KEYS_MAX,
    document::Place,
};

/// Tags that an epoch's table may hold here.
const TAGS: usize = 1 << 16;

/// A clock that may be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skew {
    /// How far it is ahead; negative is behind.
    pub(super) ms: i64,
}

impl Skew {
    fn by(self) -> Duration {
        Duration::from_millis(self.ms.unsigned_abs())
    }

    /// What the clock shows.
    pub(super) fn local(self, now: Timestamp) -> Timestamp {
        if self.ms < 0 { now - self.by() } else { now + self.by() }
    }

    /// When the clock will show this.
    pub(super) fn global(self, local: Timestamp) -> Timestamp {
        if local == Timestamp::FAR_FUTURE {
            return local;
        }
        if self.ms < 0 { local + self.by() } else { local - self.by() }
    }
}

/// The files of one epoch: a Sphinx key and its tag log.
struct EpochFiles {
    opener: Opener,
    tag_key: [u8; 32],
    tags: Vec<Tag>,
    opened: bool,
}

/// What survives a crash.
#[derive(Default)]
struct Disk {
    epochs: BTreeMap<Epoch, EpochFiles>,
    documents: BTreeMap<Epoch, Arc<[u8]>>,
}

/// An exchange with an authority that is on.
pub(super) struct Exchange {
    pub(super) number: u64,
    pub(super) errand: Errand,
    /// What the plan said is due when it began.
    pub(super) due: (Epoch, bool),
}

/// What is live since the last look, and what is not any more.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) opened: Vec<Epoch>,
    pub(super) closed: Vec<Epoch>,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) seed: [u8; 32],
    pub(super) up: bool,
    pub(super) skew: Skew,
    pub(super) documents: Documents,
    pub(super) exchange: Option<Exchange>,
    pub(super) plan: Plan,
    /// By its own clock: when to look at errands, and at documents.
    pub(super) next_errand: Timestamp,
    pub(super) next_change: Timestamp,
    role: Role,
    number: u16,
    open: BTreeSet<Epoch>,
    lost: BTreeSet<Epoch>,
    disk: Disk,
    /// The last one signed: the same for all authorities, and thirteen keys to compute.
    descriptor: Option<(Epoch, Arc<[u8]>)>,
    rng: EngineRng,
}

impl Node {
    pub(super) fn new(number: u16, role: Role, network: &NetworkFile, mut rng: EngineRng) -> Self {
        let seed = bytes(&mut rng);
        Self {
            id: SigningSecret::from_seed(&seed).node_id(),
            seed,
            up: false,
            skew: Skew::default(),
            documents: Documents::default(),
            exchange: None,
            plan: Plan::new(network),
            next_errand: Timestamp::ZERO,
            next_change: Timestamp::ZERO,
            role,
            number,
            open: BTreeSet::new(),
            lost: BTreeSet::new(),
            disk: Disk::default(),
            descriptor: None,
            rng,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn secret(&self) -> SigningSecret {
        SigningSecret::from_seed(&self.seed)
    }

    fn link_key(&self) -> LinkKey {
        LinkKey(self.id.0)
    }

    /// As `kill -9`: what is on disk stays.
    pub(super) fn kill(&mut self) {
        self.up = false;
        self.exchange = None;
        self.open.clear();
        self.lost.clear();
        self.documents = Documents::default();
    }

    /// A crash of the machine: the keys whose logs were open are no more to be used.
    pub(super) fn cut_power(&mut self) {
        self.kill();
        self.descriptor = None;
        self.disk.epochs.retain(|_, files| !files.opened);
    }

    pub(super) fn start(&mut self, now: Timestamp, network: &NetworkFile, authorities: &AuthoritySet) {
        let local = self.skew.local(now);
        self.up = true;
        self.plan = Plan::new(network);
        (self.next_errand, self.next_change) = (local, local);
        let kept: Vec<_> = self.disk.documents.values().cloned().collect();
        for document in kept {
            self.offer(now, authorities, &document);
        }
    }

    /// Takes a document's bytes. True if it is new.
    pub(super) fn offer(&mut self, now: Timestamp, authorities: &AuthoritySet, bytes: &Arc<[u8]>) -> bool {
        let local = self.skew.local(now);
        let Ok(document) = UnverifiedDocument::from_bytes(bytes) else { return false };
        let epoch = document.epoch();
        let Ok(document) = document.verify_early(authorities, local) else { return false };
        self.documents.forget(local);
        if self.documents.insert(local, document).is_err() {
            return false;
        }
        self.disk.documents.insert(epoch, bytes.clone());
        let known: BTreeSet<_> = self.documents.iter().map(|document| document.epoch).collect();
        self.disk.documents.retain(|epoch, _| known.contains(epoch));
        self.next_change = local;
        true
    }

    /// Opens and closes epochs as documents and time say.
    pub(super) fn follow(&mut self, now: Timestamp) -> Changed {
        let local = self.skew.local(now);
        self.next_change = self.documents.next_change(local).unwrap_or(Timestamp::FAR_FUTURE);
        let live: Vec<Document> = self.documents.live(local).cloned().collect();
        let alive = |epoch: &Epoch| live.iter().any(|document| document.epoch == *epoch);
        self.lost.retain(alive);
        let closed: Vec<_> = self.open.iter().copied().filter(|epoch| !alive(epoch)).collect();
        for epoch in &closed {
            self.open.remove(epoch);
            self.disk.epochs.remove(epoch);
        }
        let mut opened = Vec::new();
        for document in &live {
            if !self.open.contains(&document.epoch) && !self.lost.contains(&document.epoch) && self.opens(document) {
                self.open.insert(document.epoch);
                opened.push(document.epoch);
            }
        }
        if let Some(in_force) = self.documents.in_force(local).map(|document| document.epoch) {
            let open = &self.open;
            self.disk.epochs.retain(|epoch, _| *epoch >= in_force || open.contains(epoch));
        }
        Changed { opened, closed }
    }

    fn opens(&mut self, document: &Document) -> bool {
        let Some((place, relay)) = document.relay(&self.id) else { return false };
        let fits = matches!(
            (place, self.role),
            (Place::Mix(_), Role::Mix) | (Place::Entry, Role::Entry) | (Place::Mailbox, Role::Mailbox)
        );
        if !fits || relay.link_key != self.link_key() {
            return false;
        }
        match self.disk.epochs.get_mut(&document.epoch).filter(|files| files.opener.public() == relay.sphinx_key) {
            Some(files) => {
                files.opened = true;
                true
            }
            None => {
                self.lost.insert(document.epoch);
                false
            }
        }
    }

    /// Replay memory of an open epoch, as its log has it.
    pub(super) fn memory(&self, epoch: Epoch) -> Option<(TagKey, TagTable)> {
        let files = self.disk.epochs.get(&epoch)?;
        let mut table = TagTable::new(TAGS);
        for tag in &files.tags {
            table.check_and_insert(*tag).expect("a log has each tag once, and no more than a table");
        }
        Some((TagKey::new(files.tag_key), table))
    }

    pub(super) fn log_tags(&mut self, epoch: Epoch, tags: &[Tag]) {
        if let Some(files) = self.disk.epochs.get_mut(&epoch) {
            files.tags.extend_from_slice(tags);
        }
    }

    /// The live epoch that a frame's flags name, and its key.
    pub(super) fn key_for(&self, flags: Flags) -> Option<(Epoch, Opener)> {
        let epoch = self.open.iter().find(|epoch| flags.is_for(**epoch))?;
        Some((*epoch, self.disk.epochs.get(epoch)?.opener.clone()))
    }

    /// True if an open epoch's document lists `to` for which `wanted` says yes to (our place, its place).
    pub(super) fn next_nodes(&self, wanted: impl Fn(Place, Place) -> bool) -> BTreeSet<NodeId> {
        let open = self.documents.iter().filter(|document| self.open.contains(&document.epoch));
        let of = |document: &Document| {
            let ours = document.relay(&self.id).map(|(place, _)| place);
            let relays = document.relays().map(|(to, relay)| (to, relay.id)).collect::<Vec<_>>();
            relays.into_iter().filter_map(move |(to, id)| Some((ours?, to, id)))
        };
        open.flat_map(of).filter(|(ours, to, _)| wanted(*ours, *to)).map(|(_, _, id)| id).collect()
    }

    /// Signs what this node says of itself for an epoch; makes the keys that are missing.
    pub(super) fn descriptor(&mut self, epoch: Epoch, observed: Observed) -> Arc<[u8]> {
        if let Some((_, signed)) = self.descriptor.as_ref().filter(|(signed, _)| *signed == epoch) {
            return signed.clone();
        }
        let mut keys = Vec::with_capacity(SPHINX_KEYS_MAX);
        for later in 0..SPHINX_KEYS_MAX as u64 {
            let (id, rng) = (self.id, &mut self.rng);
            let fresh = || EpochFiles {
                opener: Opener::new(id.0, Arc::new(SphinxSecret::from_seed(bytes(rng)))),
                tag_key: bytes(rng),
                tags: Vec::new(),
                opened: false,
            };
            keys.push(self.disk.epochs.entry(Epoch(epoch.0 + later)).or_insert_with(fresh).opener.public());
        }
        let descriptor = Descriptor {
            id: self.id,
            epoch,
            role: self.role,
            addresses: vec![([127, 0, 0, 1], 4_000 + self.number).into()],
            onion: None,
            link_key: self.link_key(),
            sphinx_keys: keys,
            software: "simulation".into(),
            family: String::new(),
            capacity: 1_000,
            fill: observed.fill,
            measured: observed.measured,
        };
        let signed: Arc<[u8]> = descriptor.sign(&self.secret()).into();
        self.descriptor = Some((epoch, signed.clone()));
        signed
    }

    /// Whether it is time to say something of itself.
    pub(super) fn may_tell(&self, local: Timestamp) -> bool {
        let listed = self.documents.newest().is_some_and(|document| document.relay(&self.id).is_some());
        self.plan.may_tell(local, listed)
    }

    /// The document of the highest epoch that is known.
    pub(super) fn newest(&self) -> Epoch {
        self.documents.newest().map_or(Epoch(0), |document| document.epoch)
    }
}
