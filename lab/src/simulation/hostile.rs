//! A mailbox that signs for boxes and does not keep its word: the real engine behind a shell that mangles what clients get.

use std::{collections::BTreeMap, time::Duration};
use veilpost_mailbox::{
    memory::MemoryStore,
    store::{BoxStore as _, Change},
};
use veilpost_packet::{
    boxes::SealedBox,
    command::{Answer, Reply},
    sphinx::Surb,
    time::{Epoch, Timestamp},
};

/// A reply on its way out, as the engine gives it.
pub(super) type Outgoing = (Epoch, Surb, Vec<u8>);

/// What a mailbox does with what it promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Nature {
    /// What it should.
    #[default]
    Honest,
    /// Signs for every box, names it, and throws it away; says so when asked.
    Drops,
    /// Answers every Get with bytes that nobody wrote.
    Garbage,
    /// Answers every Get with the first box that was ever asked of it.
    OldBytes,
    /// Answers so much later.
    Slow(Duration),
    /// Keeps all answers back and gives them at once, each time that so much has passed.
    Hoards(Duration),
    /// Answers nobody.
    Silent,
    /// Says of every other box that it is against the rules, and of the rest that something else is there.
    Contradicts,
}

impl Nature {
    /// When an answer of now leaves.
    fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Slow(by) => now + by,
            Self::Hoards(period) => {
                let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
                now + Duration::from_nanos(period_ns - now.as_nanos() % period_ns)
            }
            _ => now,
        }
    }
}

/// The shell around a mailbox's engine.
#[derive(Default)]
pub(super) struct Shell {
    nature: Nature,
    first: Option<SealedBox>,
    late: BTreeMap<(Timestamp, u64), Outgoing>,
    count: u64,
}

impl Shell {
    pub(super) fn new(nature: Nature) -> Self {
        Self { nature, ..Self::default() }
    }

    /// What leaves in place of these replies.
    pub(super) fn mangle(&mut self, now: Timestamp, replies: Vec<Outgoing>) -> Vec<Outgoing> {
        match self.nature {
            Nature::Honest => replies,
            Nature::Silent => Vec::new(),
            Nature::Slow(_) | Nature::Hoards(_) => {
                for reply in replies {
                    self.count += 1;
                    self.late.insert((self.nature.due(now), self.count), reply);
                }
                let later = self.late.split_off(&(now, u64::MAX));
                std::mem::replace(&mut self.late, later).into_values().collect()
            }
            Nature::Drops | Nature::Garbage | Nature::OldBytes | Nature::Contradicts => {
                replies.into_iter().map(|(epoch, surb, plaintext)| (epoch, surb, self.lie(&plaintext))).collect()
            }
        }
    }

    fn lie(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut reply = Reply::decode(plaintext).expect("the engine encodes well");
        if let Answer::Found(sealed) = &reply.answer {
            self.first.get_or_insert_with(|| (**sealed).clone());
        }
        let asked = matches!(reply.answer, Answer::Found(_) | Answer::Gone | Answer::Absent);
        reply.answer = match (self.nature, reply.answer, &self.first) {
            (Nature::Drops, Answer::Found(_) | Answer::Gone, _) => Answer::Absent,
            (Nature::OldBytes, _, Some(first)) if asked => Answer::Found(Box::new(first.clone())),
            (Nature::Garbage, Answer::Found(mut sealed), _) => {
                sealed.ciphertext.iter_mut().for_each(|byte| *byte ^= 0x55);
                Answer::Found(sealed)
            }
            (Nature::Garbage, _, Some(first)) if asked => {
                let mut garbage = first.clone();
                garbage.ciphertext.fill(0x55);
                Answer::Found(Box::new(garbage))
            }
            (Nature::Contradicts, Answer::Stored(_), _) => {
                self.count += 1;
                if self.count.is_multiple_of(2) { Answer::Refused } else { Answer::Conflict }
            }
            (_, answer, _) => answer,
        };
        reply.encode()
    }

    /// When a late reply is due.
    pub(super) fn next_wake(&self) -> Timestamp {
        self.late.first_key_value().map_or(Timestamp::FAR_FUTURE, |((due, _), _)| *due)
    }

    /// Throws away what has been signed for: boxes that another holder's word is here for.
    pub(super) fn forget(&self, store: &mut MemoryStore) {
        if self.nature != Nature::Drops {
            return;
        }
        let all = store.walk(None, usize::MAX).expect("memory");
        let signed = all.into_iter().filter(|walked| walked.others.as_ref().is_some_and(|others| !others.is_empty()));
        let drops = signed.map(|walked| Change::Drop { id: walked.at.id, bucket: walked.at.bucket });
        // A disk that is full forgets nothing.
        let _ = store.apply(&drops.collect::<Vec<_>>());
    }
}
