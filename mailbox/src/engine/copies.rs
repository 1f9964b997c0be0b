//! What other mailboxes say, and who holds what.
//!
//! A box of class *solo* has one writer. Should that one have written two contents under one id, at mailboxes that could not reach
//! each other, the content of the lower hash wins everywhere once they meet. A *contested* box is decided by the first of the
//! placement set alone, and never changes.

use super::{
    Batch, BoxId, BoxStore, ContentHash, Effect, HolderSignature, Mailbox, NetworkId, NodeId, OFFERS_MAX, Offer,
    PeerItem, PlacementHash, SealedBox, SignedDigest, StoreId, Timestamp,
};
use crate::store::{Confirmation, Held, Kept, OTHERS_MAX, StoreError};
use veilpost_packet::{
    boxes::BoxClass,
    peer::{Copy, Refusal},
    time::Day,
};

/// An item of another mailbox whose public-key work is done.
#[derive(Debug)]
pub enum FromPeer {
    /// Hold this.
    Copy {
        /// The box; its signature is good.
        sealed: Box<SealedBox>,
        /// Its content.
        content: ContentHash,
        /// The sender's word that it holds it, if it gave one.
        theirs: Option<Confirmation>,
        /// A digest has named it, says the sender.
        announced: bool,
    },
    /// It holds that.
    Holds {
        /// The box.
        id: BoxId,
        /// Its content.
        content: ContentHash,
        /// Its last day.
        expiry: Day,
        /// The sender's word; its signature is good.
        theirs: Confirmation,
        /// And we?
        asks: bool,
    },
    /// It does not take that.
    Refuse {
        /// The box.
        id: BoxId,
        /// The content.
        content: ContentHash,
        /// Why not.
        why: Refusal,
    },
    /// That was acknowledged.
    Gone {
        /// The box.
        id: BoxId,
        /// What opens the box's ack hash, if it does.
        secret: [u8; 32],
    },
    /// It wants that.
    Ask {
        /// The box.
        id: BoxId,
    },
    /// A piece of its digests.
    Piece(Vec<u8>),
    /// How it stands.
    State {
        /// Its store.
        store: StoreId,
        /// Its placement set.
        placement: PlacementHash,
        /// It has gone through its boxes.
        swept: bool,
    },
    /// A signature is not good.
    Bad,
}

impl FromPeer {
    /// Does the public-key work of an item (about 110 us for a copy): outside the engine, on a worker.
    pub fn check(item: PeerItem, network: &NetworkId, from: NodeId) -> Self {
        match item {
            PeerItem::Copy(Copy { sealed, held, store, announced }) => {
                let Some(content) = sealed.verify(network) else { return Self::Bad };
                let theirs = held.map(|signature| HolderSignature { holder: from, signature });
                if theirs.is_some_and(|theirs| !theirs.verify(network, &sealed.id, &content, sealed.expiry)) {
                    return Self::Bad;
                }
                let theirs = theirs.map(|signature| Confirmation { signature, store: StoreId(store) });
                Self::Copy { sealed, content, theirs, announced }
            }
            PeerItem::Holds { id, content, expiry, store, signature, asks } => {
                let signature = HolderSignature { holder: from, signature };
                if !signature.verify(network, &id, &content, expiry) {
                    return Self::Bad;
                }
                Self::Holds { id, content, expiry, theirs: Confirmation { signature, store: StoreId(store) }, asks }
            }
            PeerItem::Refuse { id, content, why } => Self::Refuse { id, content, why },
            PeerItem::Gone { id, secret } => Self::Gone { id, secret },
            PeerItem::Ask { id } => Self::Ask { id },
            PeerItem::Piece(bytes) => Self::Piece(bytes),
            PeerItem::State { store, placement, swept } => Self::State { store: StoreId(store), placement, swept },
        }
    }
}

impl<S: BoxStore> Mailbox<S> {
    pub(super) fn handle_item(&mut self, now: Timestamp, from: NodeId, item: FromPeer, batch: &mut Batch) {
        if !self.peers.is_listed(&from) {
            return;
        }
        self.peers.heard(now, &from);
        let done = match item {
            FromPeer::Copy { sealed, content, theirs, announced } => {
                self.take_copy(now, from, *sealed, content, theirs, announced, batch)
            }
            FromPeer::Holds { id, content, expiry, theirs, asks } => {
                self.take_word(now, from, id, content, expiry, theirs, asks, batch)
            }
            FromPeer::Refuse { id, content, why } => self.take_refusal(from, id, content, why, batch),
            FromPeer::Gone { id, secret } => self.take_gone(id, secret, batch),
            FromPeer::Ask { id } => self.hand_out(from, &id, batch),
            FromPeer::Piece(bytes) => self.take_digests(from, &bytes, batch),
            FromPeer::State { store, placement, swept } => {
                if self.peers.state(&from, store, placement, swept) {
                    // What it held is lost.
                    self.sweep.begin(now);
                }
                Ok(())
            }
            FromPeer::Bad => {
                self.counters.bad_peer_items += 1;
                Ok(())
            }
        };
        if done.is_err() {
            // The disk could not be read: whoever wants something of us asks again.
            self.counters.store_failures += 1;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one item")]
    fn take_copy(
        &mut self,
        now: Timestamp,
        from: NodeId,
        sealed: SealedBox,
        content: ContentHash,
        theirs: Option<Confirmation>,
        announced: bool,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let (id, expiry) = (sealed.id, sealed.expiry);
        let refuse = |why| Effect::Tell(from, PeerItem::Refuse { id, content, why });
        if !self.may_expire_on(now, expiry) || u32::from(sealed.district.0) >= self.terms.params.districts {
            batch.effects.push(refuse(Refusal::Rule));
            return Ok(());
        }
        match batch.held(&self.store, &id)? {
            Some(Held::Tombstone(gone)) if gone.content == content => {
                // It was held here, and the sender may say so to its writer; then it ends there too.
                batch.effects.push(Effect::Tell(from, self.word(&id, &content, gone.until, false)));
                batch.effects.push(Effect::Tell(from, PeerItem::Gone { id, secret: gone.secret }));
            }
            Some(Held::Tombstone(_)) => batch.effects.push(refuse(Refusal::Conflict)),
            Some(Held::Box(kept)) => {
                let ours = kept.sealed.content_hash(&self.terms.network);
                if ours == content && kept.sealed.expiry >= expiry {
                    self.add_word(now, *kept, theirs, batch);
                } else if ours == content {
                    self.renew(*kept, sealed, batch);
                    self.add_word_to_held(now, &id, theirs, batch)?;
                } else if sealed.class == BoxClass::Solo && content < ours {
                    batch.effects.push(Effect::Lost(id, ours));
                    self.hold_new(sealed, theirs.into_iter().collect(), kept.announced, now, batch);
                } else {
                    batch.effects.push(refuse(Refusal::Conflict));
                    let word = self.word(&id, &ours, kept.sealed.expiry, true);
                    batch.effects.push(Effect::Tell(from, word));
                    return Ok(());
                }
                let word = self.word(&id, &content, expiry, false);
                batch.effects.push(Effect::Tell(from, word));
            }
            None if !self.has_room(expiry, batch) => batch.effects.push(refuse(Refusal::Full)),
            None if sealed.class == BoxClass::Contested && !self.may_take_contested(&id, from, theirs.is_some()) => {
                batch.effects.push(refuse(Refusal::Busy));
            }
            None => {
                // Only of an old box the sender's word is taken that it has been named: what is fresh we name ourselves unless we
                // have seen it named.
                let first_day = expiry.0.saturating_sub(self.terms.params.box_days);
                let old = Day::at(now, self.terms.params.day).0 > first_day.saturating_add(1);
                self.hold_new(sealed, theirs.into_iter().collect(), announced && old, now, batch);
                batch.copied += 1;
                batch.effects.push(Effect::Tell(from, self.word(&id, &content, expiry, false)));
                batch.effects.push(Effect::Arrived(id));
                if theirs.is_none() {
                    batch.effects.push(Effect::Replicate(id));
                }
            }
        }
        Ok(())
    }

    /// A contested box comes from, or goes to, the one that decides. `held`: the sender holds it, so that it was decided before.
    fn may_take_contested(&self, id: &BoxId, from: NodeId, held: bool) -> bool {
        let first = self.placed(id).into_iter().next();
        (held && (first == Some(from) || first == Some(self.me))) || self.may_decide(id)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one item")]
    fn take_word(
        &mut self,
        now: Timestamp,
        from: NodeId,
        id: BoxId,
        content: ContentHash,
        expiry: Day,
        theirs: Confirmation,
        asks: bool,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let answer = |word: PeerItem| Effect::Tell(from, word);
        match batch.held(&self.store, &id)? {
            Some(Held::Box(kept)) => {
                let ours = kept.sealed.content_hash(&self.terms.network);
                let until = kept.sealed.expiry;
                if ours != content {
                    if kept.sealed.class == BoxClass::Solo && content < ours {
                        batch.effects.push(answer(PeerItem::Ask { id }));
                    }
                } else if expiry > until {
                    batch.effects.push(answer(PeerItem::Ask { id }));
                } else if expiry == until {
                    self.add_word(now, *kept, Some(theirs), batch);
                    if asks {
                        batch.effects.push(answer(self.word(&id, &content, until, false)));
                    }
                } else if asks {
                    // Its box is older than ours: ours tells it so.
                    batch.effects.push(answer(self.word(&id, &content, until, true)));
                }
            }
            Some(Held::Tombstone(gone)) if gone.content == content && asks => {
                batch.effects.push(answer(PeerItem::Gone { id, secret: gone.secret }));
            }
            Some(Held::Tombstone(_)) => {}
            None => match self.offers.remove(&id) {
                Some(offer) if offer.content == content && self.has_room(offer.sealed.expiry, batch) => {
                    self.hold_new(offer.sealed, vec![theirs], false, now, batch);
                    batch.stored += 1;
                    batch.effects.push(answer(self.word(&id, &content, expiry, false)));
                    batch.effects.push(Effect::Durable(id, content, theirs));
                }
                Some(_) | None if asks && self.may_expire_on(now, expiry) => {
                    batch.effects.push(answer(PeerItem::Ask { id }));
                }
                Some(_) | None => {}
            },
        }
        Ok(())
    }

    fn take_refusal(
        &mut self,
        from: NodeId,
        id: BoxId,
        content: ContentHash,
        why: Refusal,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let decides = self.placed(&id).first() == Some(&from);
        match why {
            Refusal::Conflict if decides && self.offers.get(&id).is_some_and(|offer| offer.content == content) => {
                self.offers.remove(&id);
                batch.effects.push(Effect::Lost(id, content));
            }
            Refusal::Full => {
                if let Some(Held::Box(kept)) = batch.held(&self.store, &id)?
                    && kept.sealed.class == BoxClass::Solo
                    && !self.is_durable(&kept.others)
                    && let Some(next) = self.after(&id, &from)
                {
                    let copy = self.copy_of(&kept);
                    batch.effects.push(Effect::Tell(next, copy));
                }
            }
            // A conflict that we cannot see is no conflict: another mailbox's word alone stops no writer.
            Refusal::Conflict | Refusal::Busy | Refusal::Rule => {}
        }
        Ok(())
    }

    /// Who comes after a mailbox in hash order and is there.
    fn after(&self, id: &BoxId, refused: &NodeId) -> Option<NodeId> {
        let behind = self.placed(id).into_iter().skip_while(|other| other != refused).skip(1);
        behind.filter(|other| *other != self.me).find(|other| self.peers.is_reachable(other))
    }

    fn take_gone(&mut self, id: BoxId, secret: [u8; 32], batch: &mut Batch) -> Result<(), StoreError> {
        match batch.held(&self.store, &id)? {
            Some(Held::Box(kept)) if kept.sealed.opens_ack(&secret) => {
                self.bury(*kept, secret, batch);
                batch.effects.push(Effect::Gone(id));
            }
            Some(Held::Box(_)) => self.counters.bad_peer_items += 1,
            Some(Held::Tombstone(_)) | None => {}
        }
        Ok(())
    }

    fn hand_out(&mut self, to: NodeId, id: &BoxId, batch: &mut Batch) -> Result<(), StoreError> {
        match batch.held(&self.store, id)? {
            Some(Held::Box(kept)) => {
                let copy = self.copy_of(&kept);
                batch.effects.push(Effect::Tell(to, copy));
            }
            Some(Held::Tombstone(gone)) => {
                batch.effects.push(Effect::Tell(to, PeerItem::Gone { id: *id, secret: gone.secret }));
            }
            None => {}
        }
        Ok(())
    }

    /// What another mailbox has published need not be published by us.
    fn take_digests(&mut self, from: NodeId, piece: &[u8], batch: &mut Batch) -> Result<(), StoreError> {
        for bytes in self.peers.piece(&from, piece) {
            let Ok(digest) = SignedDigest::verify(&bytes) else {
                self.counters.bad_peer_items += 1;
                continue;
            };
            let digest = digest.digest();
            if digest.mailbox == from && digest.network == self.terms.network {
                batch.announced.extend(digest.tags.iter().filter_map(|tag| self.tags.named(tag)));
            }
        }
        Ok(())
    }

    /// Holds a box that is not here, or in place of another content. Nothing is counted here.
    pub(super) fn hold_new(
        &mut self,
        sealed: SealedBox,
        others: Vec<Confirmation>,
        announced: bool,
        now: Timestamp,
        batch: &mut Batch,
    ) {
        let (id, bucket) = (sealed.id, sealed.expiry);
        let mut kept = Kept { sealed, others, announced };
        let announce = self.announcement(now, &kept);
        kept.announced |= announce.is_some();
        *batch.coming.entry(bucket).or_default() += SealedBox::SIZE as u64;
        batch.hold(id, Held::Box(Box::new(kept)), announce);
    }

    fn add_word_to_held(
        &mut self,
        now: Timestamp,
        id: &BoxId,
        theirs: Option<Confirmation>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if let Some(Held::Box(kept)) = batch.held(&self.store, id)? {
            self.add_word(now, *kept, theirs, batch);
        }
        Ok(())
    }

    /// Another mailbox holds what we hold.
    fn add_word(&mut self, now: Timestamp, mut kept: Kept, theirs: Option<Confirmation>, batch: &mut Batch) {
        let Some(theirs) = theirs else { return };
        let (id, content) = (kept.sealed.id, kept.sealed.content_hash(&self.terms.network));
        batch.effects.push(Effect::Durable(id, content, theirs));
        if kept.others.contains(&theirs) {
            return;
        }
        kept.others.retain(|other| other.signature.holder != theirs.signature.holder);
        kept.others.push(theirs);
        let order = self.placed(&id);
        let rank = |other: &Confirmation| order.iter().position(|one| *one == other.signature.holder);
        kept.others.sort_by_key(|other| rank(other).unwrap_or(usize::MAX));
        kept.others.truncate(OTHERS_MAX);
        let announce = self.announcement(now, &kept);
        kept.announced |= announce.is_some();
        batch.confirm(id, Held::Box(Box::new(kept)), announce);
    }

    /// Our word that we hold a box.
    pub(super) fn word(&self, id: &BoxId, content: &ContentHash, expiry: Day, asks: bool) -> PeerItem {
        let signature = HolderSignature::sign(&self.secret, &self.terms.network, id, content, expiry).signature;
        PeerItem::Holds { id: *id, content: *content, expiry, store: self.store_id.0, signature, asks }
    }

    fn copy_of(&self, kept: &Kept) -> PeerItem {
        let (sealed, network) = (&kept.sealed, &self.terms.network);
        let content = sealed.content_hash(network);
        let held = HolderSignature::sign(&self.secret, network, &sealed.id, &content, sealed.expiry).signature;
        PeerItem::Copy(Copy {
            sealed: Box::new(sealed.clone()),
            held: Some(held),
            store: self.store_id.0,
            announced: kept.announced,
        })
    }

    /// Sends a fresh box to those that should hold it too: the first of the placement set that are there.
    pub(super) fn replicate(&mut self, id: &BoxId) {
        let Ok(Some(Held::Box(kept))) = self.store.get(id) else { return };
        let missing = self.terms.copies.saturating_sub(1 + self.valid(&kept.others).count());
        let targets: Vec<_> = self.stand_ins(&kept).into_iter().take(missing).collect();
        if targets.is_empty() {
            return;
        }
        let copy = self.copy_of(&kept);
        for target in targets {
            self.peers.tell(&target, copy.clone());
        }
    }

    /// Who could hold a box and does not, best first. A contested one is held by its true holders alone.
    pub(super) fn stand_ins(&self, kept: &Kept) -> Vec<NodeId> {
        let holds = |mailbox: &NodeId| self.valid(&kept.others).any(|other| other.signature.holder == *mailbox);
        let mut order = self.placed(&kept.sealed.id);
        if kept.sealed.class == BoxClass::Contested {
            order.truncate(self.terms.copies);
        }
        order.retain(|mailbox| *mailbox != self.me && self.peers.is_reachable(mailbox) && !holds(mailbox));
        order
    }

    /// Asks the mailbox that decides for a contested box to hold it; it is held here once that one does.
    pub(super) fn offer(&mut self, now: Timestamp, sealed: SealedBox, content: ContentHash) {
        let (id, first) = (sealed.id, self.placed(&sealed.id).into_iter().next());
        let Some(first) = first.filter(|first| self.peers.is_reachable(first)) else { return };
        if self.offers.len() >= OFFERS_MAX && !self.offers.contains_key(&id) {
            return;
        }
        let copy = Copy { sealed: Box::new(sealed.clone()), held: None, store: self.store_id.0, announced: false };
        if self.peers.tell(&first, PeerItem::Copy(copy)) {
            let until = now + self.terms.params.reply_floor * 4;
            self.offers.insert(id, Offer { sealed, content, until });
        }
    }

    /// A box is here by now: readers who wait get it.
    pub(super) fn show_found(&mut self, id: &BoxId) {
        if let Ok(Some(Held::Box(kept))) = self.store.get(id) {
            self.counters.repaired += self.replies.found(&kept.sealed);
        }
    }
}
