//! The mailboxes of a simulation.

use super::{
    Message, Simulation, Who,
    hostile::{Nature, Shell},
    node::Node,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_cover::{Cover, findings::find};
use veilpost_mailbox::{
    engine::{Counters, FromPeer, Limits, Mailbox, Terms},
    memory::MemoryStore,
};
use veilpost_packet::{
    frame::{Flags, Frame},
    ids::NodeId,
    peer::PeerBody,
    random::fork,
    replay::{TagKey, TagTable},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Documents,
    admission::{may_go, may_talk},
    document::Place,
};

/// How soon a mailbox notices that another is gone or there.
const NOTICED_LINKS: Duration = Duration::from_secs(1);

pub(super) struct MailboxNode {
    pub(super) node: Node,
    pub(super) engine: Option<Mailbox<MemoryStore>>,
    /// Its own loops, as long as its process runs.
    pub(super) cover: Option<Cover>,
    /// The disk, while no engine has it.
    pub(super) store: Option<MemoryStore>,
    pub(super) memory: BTreeMap<Epoch, (TagKey, TagTable)>,
    /// The document in force lists it.
    listed: bool,
    /// Other mailboxes that it has a link to, and when it looks again.
    linked: BTreeSet<usize>,
    next_links: Timestamp,
    shell: Shell,
}

impl MailboxNode {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            engine: None,
            cover: None,
            store: Some(MemoryStore::default()),
            memory: BTreeMap::new(),
            listed: false,
            linked: BTreeSet::new(),
            next_links: Timestamp::ZERO,
            shell: Shell::default(),
        }
    }

    /// The process ends: what waited there is lost.
    pub(super) fn kill(&mut self) {
        self.memory.clear();
        self.cover = None;
        self.linked.clear();
        self.next_links = Timestamp::ZERO;
        if let Some(engine) = self.engine.take() {
            self.store = Some(engine.into_store());
        }
    }
}

impl Simulation {
    /// Ends a mailbox's process and starts it anew from its store: replies that waited are lost.
    pub fn restart_mailbox(&mut self, number: usize) {
        self.kill_node(Who::Mailbox(number), false);
        self.start_node(Who::Mailbox(number));
    }

    /// Fills a mailbox's disk, or makes room again.
    pub fn fill_disk(&mut self, number: usize, full: bool) {
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        let store = mailbox.engine.as_mut().map(Mailbox::store_mut).or(mailbox.store.as_mut());
        store.expect("a store is in the engine or beside it").disk_full = full;
    }

    /// A mailbox's machine dies, and the disk with its boxes, which is empty at the next start.
    pub fn lose_disk(&mut self, number: usize) {
        self.kill_node(Who::Mailbox(number), true);
        self.mailboxes.get_mut(number).expect("a mailbox").store = Some(MemoryStore::default());
    }

    /// Turns a mailbox bad, or good again.
    pub fn set_nature(&mut self, number: usize, nature: Nature) {
        self.mailboxes.get_mut(number).expect("a mailbox").shell = Shell::new(nature);
        self.touch(Who::Mailbox(number));
    }

    /// What a mailbox counted since its process began.
    pub fn counters_of(&self, mailbox: usize) -> Counters {
        let mailbox = self.mailboxes.get(mailbox).expect("a mailbox");
        mailbox.engine.as_ref().map(Mailbox::counters).unwrap_or_default()
    }

    /// How many mailboxes there are.
    pub fn mailboxes(&self) -> usize {
        self.mailboxes.len()
    }

    pub(super) fn poll_mailbox(&mut self, number: usize) -> Timestamp {
        let (who, packets) = (Who::Mailbox(number), self.setup.packets);
        if !self.node(who).up {
            return Timestamp::FAR_FUTURE;
        }
        let wake = self.poll_node(who);
        self.follow_terms(number);
        self.follow_links(number);
        self.send_loops(number);
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        let (id, skew, local) = (mailbox.node.id, mailbox.node.skew, mailbox.node.skew.local(self.now));
        let Some(engine) = &mut mailbox.engine else { return wake };
        // A full disk: it is done again when there is room.
        let _ = engine.poll_sweep(local);
        let frames: Vec<_> = std::iter::from_fn(|| engine.poll_peer_frame(local)).collect();
        // A full disk: the same tags are published when there is room.
        let digest = if mailbox.listed { engine.poll_digest(local).unwrap_or_default() } else { None };
        let sets = if mailbox.listed { engine.poll_set(local).unwrap_or_default() } else { Vec::new() };
        mailbox.shell.forget(engine.store_mut());
        let replies = std::iter::from_fn(|| engine.poll_reply(local));
        let replies = replies.filter_map(|(epoch, back, plaintext)| Some((epoch, back.into_surb()?, plaintext)));
        let replies = mailbox.shell.mangle(local, replies.collect());
        let published = engine.next_digest().min(engine.next_set());
        let digest_due = if mailbox.listed { published } else { Timestamp::FAR_FUTURE };
        let due = engine.next_wake().min(digest_due).min(mailbox.shell.next_wake());
        let due = due.min(mailbox.cover.as_ref().and_then(Cover::next_wake).unwrap_or(Timestamp::FAR_FUTURE));
        let reach = if replies.is_empty() { Default::default() } else { mailbox.node.next_nodes(may_go) };
        let any = digest.is_some() || !sets.is_empty();
        let entries = if any { mailbox.node.next_nodes(|_, to| to == Place::Entry) } else { BTreeSet::new() };
        for (epoch, surb, plaintext) in replies {
            let next = NodeId(surb.first_hop());
            let to = self.by_id.get(&next).copied().filter(|_| reach.contains(&next));
            if let (Some(to), Ok(packet)) = (to, packets.reply(surb, &plaintext)) {
                self.send(who, to, Message::Packet { from: id, flags: Flags::for_epoch(epoch), packet });
            }
        }
        if let Some(digest) = digest {
            if let Some(watch) = &mut self.watch {
                watch.named.extend(digest.digest().tags.iter().map(|tag| (self.now, number, *tag)));
            }
            let bytes: Arc<[u8]> = digest.as_bytes().into();
            for entry in &entries {
                let to = self.by_id.get(entry).copied().expect("all nodes are known by id");
                self.send(who, to, Message::Digest { from: number, bytes: bytes.clone() });
            }
        }
        for set in sets {
            let bytes: Arc<[u8]> = set.as_bytes().into();
            for entry in &entries {
                let to = self.by_id.get(entry).copied().expect("all nodes are known by id");
                self.send(who, to, Message::Set { from: number, bytes: bytes.clone() });
            }
        }
        for (to, frame) in frames {
            let to = self.by_id.get(&to).copied().expect("all nodes are known by id");
            self.send(who, to, Message::Peer { from: number, frame });
        }
        wake.min(skew.global(due))
    }

    /// A mailbox's own loops.
    fn send_loops(&mut self, number: usize) {
        let MailboxNode { node, memory, cover, .. } = self.mailboxes.get_mut(number).expect("a mailbox");
        let (id, local) = (node.id, node.skew.local(self.now));
        let Some(cover) = cover else { return };
        let in_force = node.documents.in_force(local).filter(|document| memory.contains_key(&document.epoch));
        cover.follow(local, in_force);
        while let Some(job) = cover.poll_job() {
            cover.handle_built(self.setup.packets.run_loop(job));
        }
        if let Some(evidence) = cover.poll_evidence(local) {
            cover.handle_findings(find(&evidence, &id));
        }
        let packets: Vec<_> = std::iter::from_fn(|| cover.poll_packet(local)).collect();
        for packet in packets {
            let to = self.by_id.get(&packet.to).copied().expect("routes are of listed nodes");
            self.send(
                Who::Mailbox(number),
                to,
                Message::Packet { from: id, flags: packet.flags, packet: packet.packet },
            );
        }
    }

    /// Links to other mailboxes come up and go down as nodes do.
    fn follow_links(&mut self, number: usize) {
        let (now, who) = (self.now, Who::Mailbox(number));
        let mailbox = self.mailboxes.get(number).expect("a mailbox");
        if now < mailbox.next_links || mailbox.engine.is_none() {
            return;
        }
        let others = mailbox.node.next_nodes(may_talk);
        let others = others.into_iter().filter_map(|id| match self.by_id.get(&id) {
            Some(Who::Mailbox(other)) if *other != number => Some((*other, id)),
            _ => None,
        });
        let there = |other: &usize| self.node(Who::Mailbox(*other)).up && !self.is_cut(who, Who::Mailbox(*other));
        let others: BTreeMap<_, _> = others.filter(|(other, _)| there(other)).collect();
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        mailbox.next_links = now + NOTICED_LINKS;
        let (local, own) = (mailbox.node.skew.local(now), mailbox.node.id);
        let engine = mailbox.engine.as_mut().expect("asked above");
        let before = std::mem::take(&mut mailbox.linked);
        for gone in before.iter().filter(|other| !others.contains_key(other)) {
            if let Some((id, _)) = self.by_id.iter().find(|(_, who)| **who == Who::Mailbox(*gone)) {
                engine.handle_peer_link(local, id, false);
            }
        }
        let mut new = Vec::new();
        for (other, id) in others.iter().filter(|(other, _)| !before.contains(other)) {
            engine.handle_peer_link(local, id, true);
            new.push(*other);
        }
        mailbox.linked = others.into_keys().collect();
        for other in new {
            let other = self.mailboxes.get_mut(other).expect("a mailbox");
            let local = other.node.skew.local(now);
            if let Some(engine) = &mut other.engine {
                engine.handle_peer_arrival(local, &own);
            }
        }
    }

    pub(super) fn deliver_to_mailbox(&mut self, to: usize, from: usize, frame: &Frame) {
        let (now, network) = (self.now, self.authorities.network());
        let from = self.node(Who::Mailbox(from)).id;
        let mailbox = self.mailboxes.get_mut(to).expect("a mailbox");
        let local = mailbox.node.skew.local(now);
        let Some(engine) = &mut mailbox.engine else { return };
        let items = PeerBody::decode(frame.body()).expect("mailboxes speak well");
        let items = items.into_iter().map(|item| (from, FromPeer::check(item, &network, from))).collect();
        engine.handle_peer_heard(local, &from);
        engine.handle(local, Vec::new(), items);
    }

    /// The mailbox works by the document in force; its engine begins with the first.
    fn follow_terms(&mut self, number: usize) {
        let (now, quota_bytes) = (self.now, self.setup.quota_bytes);
        let mailbox = self.mailboxes.get_mut(number).expect("a mailbox");
        let local = mailbox.node.skew.local(now);
        let documents: &Documents = &mailbox.node.documents;
        let Some(document) = documents.in_force(local) else {
            mailbox.listed = false;
            return;
        };
        mailbox.listed = mailbox.memory.contains_key(&document.epoch);
        let terms = || Terms::of(document.hash(), document);
        match &mut mailbox.engine {
            Some(engine) if engine.terms().document != document.hash() => engine.set_terms(local, terms()),
            Some(_) => {}
            None => {
                let store = mailbox.store.take().expect("a store is in the engine or beside it");
                let limits = Limits { quota_bytes, bucket_bytes: quota_bytes, free_disk_floor: 0 };
                let (terms, rng) = (terms(), fork(&mut self.rng));
                let engine = Mailbox::new(local, mailbox.node.secret(), terms, limits, store, rng);
                mailbox.engine = Some(engine.expect("the store is good"));
            }
        }
    }
}
