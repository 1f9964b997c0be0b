//! Replies that wait for their time. Each leaves at a time that is drawn on arrival, whatever is asked and whatever is answered;
//! until then another mailbox may make the answer better.

use std::collections::BTreeMap;
use veilpost_packet::{
    boxes::{ContentHash, SealedBox},
    command::{Answer, HolderSignature, Reply},
    ids::{BoxId, DocumentHash},
    sphinx::Surb,
    time::{Epoch, Tick, Timestamp},
};

/// Replies that may wait for their time. Whoever sends packets pushes them; beyond it commands are dropped unseen.
pub const REPLIES_MAX: usize = 65_536;

/// How a reply goes back.
#[derive(Debug)]
pub enum Back {
    /// In a packet, by the reply block that came with the command.
    Surb(Surb),
    /// Over the stream that the command came on, by the shell's number for it.
    Stream(u64),
}

impl Back {
    /// The reply block, if that is the way.
    pub fn into_surb(self) -> Option<Surb> {
        match self {
            Self::Surb(surb) => Some(surb),
            Self::Stream(_) => None,
        }
    }
}

/// What would make an answer better.
#[derive(Debug)]
pub(super) enum Wish {
    /// A write waits for another holder of this content; our own word for it.
    Stored(BoxId, ContentHash, HolderSignature),
    /// A read waits for the box.
    Found(BoxId),
}

impl Wish {
    fn id(&self) -> BoxId {
        match self {
            Self::Stored(id, ..) | Self::Found(id) => *id,
        }
    }
}

/// A reply that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) epoch: Epoch,
    pub(super) document: DocumentHash,
    pub(super) back: Back,
    pub(super) answer: Answer,
    pub(super) wish: Option<Wish>,
}

type Key = (Timestamp, u64);

/// All replies that wait, by time.
#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: BTreeMap<Key, Waiting>,
    number: u64,
    /// Which of them another mailbox may still make better; at most as many as wait.
    open: BTreeMap<BoxId, Vec<Key>>,
}

impl Replies {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next time at which one leaves.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn push(&mut self, due: Timestamp, waiting: Waiting) {
        let key = (due, self.number);
        self.number += 1;
        if let Some(wish) = &waiting.wish {
            self.open.entry(wish.id()).or_default().push(key);
        }
        self.waiting.insert(key, waiting);
    }

    /// The next reply that is due, ready to be sealed.
    pub(super) fn pop(&mut self, now: Timestamp, newest_digest: Tick) -> Option<(Epoch, Back, Vec<u8>)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (key, waiting) = entry.remove_entry();
        if let Some(wish) = &waiting.wish {
            self.close(&wish.id(), key);
        }
        let Waiting { epoch, document, back, answer, .. } = waiting;
        Some((epoch, back, Reply { document, newest_digest, answer }.encode()))
    }

    fn close(&mut self, id: &BoxId, key: Key) {
        if let Some(keys) = self.open.get_mut(id) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.open.remove(id);
            }
        }
    }

    /// Betters the answers that `better` has something for; returns how many.
    fn improve(&mut self, id: &BoxId, mut better: impl FnMut(&Wish) -> Option<Answer>) -> u64 {
        let Some(mut keys) = self.open.remove(id) else { return 0 };
        let mut bettered = 0;
        keys.retain(|key| {
            let Some(waiting) = self.waiting.get_mut(key) else { return false };
            match waiting.wish.as_ref().and_then(&mut better) {
                Some(answer) => {
                    (waiting.answer, waiting.wish) = (answer, None);
                    bettered += 1;
                    false
                }
                None => true,
            }
        });
        if !keys.is_empty() {
            self.open.insert(*id, keys);
        }
        bettered
    }

    /// Another mailbox holds this content too.
    pub(super) fn stored(&mut self, id: &BoxId, content: &ContentHash, other: HolderSignature) {
        self.improve(id, |wish| match wish {
            Wish::Stored(_, wished, own) if wished == content => Some(Answer::Stored([*own, other])),
            _ => None,
        });
    }

    /// Another content is held for good.
    pub(super) fn lost(&mut self, id: &BoxId, content: &ContentHash) {
        self.improve(id, |wish| match wish {
            Wish::Stored(_, wished, _) if wished == content => Some(Answer::Conflict),
            _ => None,
        });
    }

    /// The box is here; returns how many readers get it.
    pub(super) fn found(&mut self, sealed: &SealedBox) -> u64 {
        self.improve(&sealed.id, |wish| match wish {
            Wish::Found(_) => Some(Answer::Found(Box::new(sealed.clone()))),
            Wish::Stored(..) => None,
        })
    }

    /// The box was acknowledged.
    pub(super) fn gone(&mut self, id: &BoxId) {
        self.improve(id, |wish| match wish {
            Wish::Found(_) => Some(Answer::Gone),
            Wish::Stored(..) => None,
        });
    }
}
