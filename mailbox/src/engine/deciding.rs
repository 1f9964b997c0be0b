//! Commands of clients: what is answered, what is written, what another mailbox is asked.

use super::{
    Answer, Batch, BoxId, BoxStore, ContentHash, District, Effect, HolderSignature, Mailbox, PeerItem, Request,
    SealedBox, Secret32, StoreError, Timestamp, Wish,
};
use crate::store::{Confirmation, Held, Kept, Tombstone};
use veilpost_packet::boxes::{BoxClass, BoxTag};

type Decision = Result<(Answer, Option<Wish>), StoreError>;

/// An answer that no other mailbox can make better.
fn plainly(answer: Answer) -> Decision {
    Ok((answer, None))
}

impl<S: BoxStore> Mailbox<S> {
    pub(super) fn decide(&mut self, now: Timestamp, request: Request, batch: &mut Batch) -> (Answer, Option<Wish>) {
        let district = match &request {
            Request::Put(sealed, ..) => sealed.district,
            Request::Get(_, district) | Request::Ack(_, district, _) => *district,
            Request::Loop | Request::BadPuzzle | Request::BadSignature => District(0),
        };
        if u32::from(district.0) >= self.terms.params.districts {
            self.counters.refused += 1;
            return (Answer::Refused, None);
        }
        let reads = matches!(request, Request::Get(..));
        let decision = match request {
            Request::Put(sealed, content, stored) => self.put(now, *sealed, content, stored, batch),
            Request::Get(id, _) => self.get(&id, batch),
            Request::Ack(id, _, secret) => self.ack(id, &secret, batch),
            Request::Loop => plainly(Answer::Looped),
            Request::BadPuzzle => {
                self.counters.bad_puzzle += 1;
                plainly(Answer::Refused)
            }
            Request::BadSignature => plainly(Answer::Refused),
        };
        let (answer, wish) = decision.unwrap_or((Answer::Pending, None));
        self.count(&answer, reads);
        (answer, wish)
    }

    fn put(
        &mut self,
        now: Timestamp,
        sealed: SealedBox,
        content: ContentHash,
        own: HolderSignature,
        batch: &mut Batch,
    ) -> Decision {
        if !self.may_expire_on(now, sealed.expiry) {
            return plainly(Answer::Refused);
        }
        let id = sealed.id;
        match batch.held(&self.store, &id)? {
            Some(Held::Tombstone(gone)) if gone.content == content => {
                // It is over: what the other holder said once is good enough.
                let other = gone.others.first().map_or(HolderSignature::NONE, |other| other.signature);
                plainly(Answer::Stored([own, other]))
            }
            Some(Held::Tombstone(_)) => plainly(Answer::Conflict),
            Some(Held::Box(kept)) if kept.sealed.content_hash(&self.terms.network) != content => {
                plainly(Answer::Conflict)
            }
            Some(Held::Box(kept)) if kept.sealed.expiry >= sealed.expiry => {
                if self.is_durable(&kept.others) {
                    return plainly(self.stored(own, &kept.others));
                }
                batch.effects.push(Effect::Replicate(id));
                Ok((Answer::Pending, Some(Wish::Stored(id, content, own))))
            }
            Some(Held::Box(kept)) => {
                self.renew(*kept, sealed, batch);
                Ok(self.own_write(id, content, own, batch))
            }
            None if !self.has_room(sealed.expiry, batch) => plainly(Answer::Full),
            None if sealed.class == BoxClass::Contested && !self.may_decide(&id) => {
                Ok(self.ask_to_decide(sealed, content, own, batch))
            }
            None => {
                self.hold_new(sealed, Vec::new(), false, now, batch);
                batch.stored += 1;
                Ok(self.own_write(id, content, own, batch))
            }
        }
    }

    /// A box is on our disk with this batch; others have to follow, unless one disk is enough.
    fn own_write(
        &self,
        id: BoxId,
        content: ContentHash,
        own: HolderSignature,
        batch: &mut Batch,
    ) -> (Answer, Option<Wish>) {
        if self.terms.copies > 1 {
            batch.effects.push(Effect::Replicate(id));
        }
        if self.terms.durable_copies <= 1 {
            return (self.stored(own, &[]), None);
        }
        (Answer::Pending, Some(Wish::Stored(id, content, own)))
    }

    /// The same content until a later day. Who else holds it has signed for the earlier one.
    pub(super) fn renew(&mut self, before: Kept, sealed: SealedBox, batch: &mut Batch) {
        let (id, bucket) = (sealed.id, sealed.expiry);
        // Its tag goes to the later bucket with it.
        let waiting = self.tags.of(&id).map(|tag| {
            batch.announced.push(tag);
            crate::store::Waiting { bucket, ..tag }
        });
        *batch.coming.entry(bucket).or_default() += SealedBox::SIZE as u64;
        let kept = Kept { sealed, others: Vec::new(), announced: before.announced };
        batch.hold(id, Held::Box(Box::new(kept)), waiting);
    }

    /// A contested box is decided by the first of the placement set alone, once it knows what was decided before.
    pub(super) fn may_decide(&self, id: &BoxId) -> bool {
        self.placed(id).first().is_none_or(|first| *first == self.me) && !self.syncing
    }

    fn ask_to_decide(
        &self,
        sealed: SealedBox,
        content: ContentHash,
        own: HolderSignature,
        batch: &mut Batch,
    ) -> (Answer, Option<Wish>) {
        let id = sealed.id;
        batch.effects.push(Effect::Offer(sealed, content));
        (Answer::Pending, Some(Wish::Stored(id, content, own)))
    }

    fn get(&self, id: &BoxId, batch: &mut Batch) -> Decision {
        match batch.held(&self.store, id)? {
            Some(Held::Box(kept)) => plainly(Answer::Found(Box::new(kept.sealed))),
            Some(Held::Tombstone(_)) => plainly(Answer::Gone),
            None => {
                // Whoever asks for a box knows that it exists: another holder has it, and it comes in time for the answer.
                let others = self.placed(id).into_iter().take(self.terms.copies + 1).filter(|other| *other != self.me);
                batch.effects.extend(others.map(|other| Effect::Tell(other, PeerItem::Ask { id: *id })));
                Ok((Answer::Absent, Some(Wish::Found(*id))))
            }
        }
    }

    fn ack(&mut self, id: BoxId, secret: &Secret32, batch: &mut Batch) -> Decision {
        match batch.held(&self.store, &id)? {
            Some(Held::Box(kept)) if kept.sealed.opens_ack(secret.expose()) => {
                let known = kept.others.iter().map(|other| other.signature.holder);
                let mut others: Vec<_> = self.placed(&id).into_iter().take(self.terms.copies).chain(known).collect();
                others.sort_unstable();
                others.dedup();
                others.retain(|other| *other != self.me);
                self.bury(*kept, *secret.expose(), batch);
                let gone = PeerItem::Gone { id, secret: *secret.expose() };
                batch.effects.extend(others.into_iter().map(|other| Effect::Tell(other, gone.clone())));
                plainly(Answer::Gone)
            }
            Some(Held::Box(_)) => plainly(Answer::Refused),
            Some(Held::Tombstone(_)) => plainly(Answer::Gone),
            None => {
                // Who held the box once and has handed it over passes the word on; its holders see for themselves whether it is good.
                let gone = PeerItem::Gone { id, secret: *secret.expose() };
                let holders = self.placed(&id).into_iter().take(self.terms.copies).filter(|other| *other != self.me);
                batch.effects.extend(holders.map(|other| Effect::Tell(other, gone.clone())));
                plainly(Answer::Absent)
            }
        }
    }

    /// A tombstone takes the box's place.
    pub(super) fn bury(&mut self, kept: Kept, secret: [u8; 32], batch: &mut Batch) {
        let Kept { sealed, others, .. } = kept;
        let content = sealed.content_hash(&self.terms.network);
        batch.announced.extend(self.tags.of(&sealed.id));
        batch.buried.push(BoxTag::of(&sealed.id));
        batch.hold(
            sealed.id,
            Held::Tombstone(Box::new(Tombstone { content, until: sealed.expiry, secret, others })),
            None,
        );
        batch.acknowledged += 1;
    }

    fn stored(&self, own: HolderSignature, others: &[Confirmation]) -> Answer {
        Answer::Stored([own, self.valid(others).next().map_or(HolderSignature::NONE, |other| other.signature)])
    }

    fn count(&mut self, answer: &Answer, reads: bool) {
        let counter = match answer {
            Answer::Found(_) => &mut self.counters.found,
            Answer::Absent if reads => &mut self.counters.not_found,
            Answer::Absent => return,
            Answer::Looped => &mut self.counters.loops,
            Answer::Conflict => &mut self.counters.conflicts,
            Answer::Full => &mut self.counters.full,
            Answer::Refused => &mut self.counters.refused,
            Answer::Stored(_) | Answer::Pending | Answer::Gone => return,
        };
        *counter += 1;
    }
}
