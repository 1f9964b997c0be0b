//! Random commands, failures and restarts against a model that is too simple to be wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Faulty, Mail, Rig, TODAY, is_stored, mail_of};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};
use veilpost_mailbox::memory::MemoryStore;
use veilpost_packet::{boxes::BoxClass, command::Answer, digest::DigestHash};

const BOXES: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Box, content, days to expiry beyond the first day.
    Put(u64, usize, u32),
    Get(u64),
    Ack(u64, usize, bool),
    Tick,
    DayPasses,
    Restart,
    DiskFails(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..BOXES, 0usize..2, 0u32..4).prop_map(|(id, content, days)| Step::Put(id, content, days)),
        3 => (0..BOXES).prop_map(Step::Get),
        3 => (0..BOXES, 0usize..2, any::<bool>()).prop_map(|(id, content, right)| Step::Ack(id, content, right)),
        2 => Just(Step::Tick),
        1 => Just(Step::DayPasses),
        1 => Just(Step::Restart),
        1 => prop::bool::weighted(0.3).prop_map(Step::DiskFails),
    ]
}

/// Box `id` with content 0 or 1; even boxes are solo. Sealed once: signing is what costs.
fn variant(id: u64, content: usize, days: u32) -> &'static Mail {
    static ALL: LazyLock<BTreeMap<(u64, usize, u32), Mail>> = LazyLock::new(|| {
        let class = |id| if id % 2 == 0 { BoxClass::Solo } else { BoxClass::Contested };
        let make =
            |id, content, days| mail_of(id, if content == 0 { b"zero" } else { b"one" }, class(id), TODAY + days);
        let keys =
            (0..BOXES).flat_map(|id| (0..2).flat_map(move |content| (0..4).map(move |days| (id, content, days))));
        keys.map(|(id, content, days)| ((id, content, days), make(id, content, days))).collect()
    });
    &ALL[&(id, content, days)]
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Box { content: usize, until: u32 },
    Tombstone { content: usize, until: u32 },
}

#[derive(Default)]
struct Model {
    held: BTreeMap<u64, Entry>,
    waiting: BTreeSet<u64>,
    previous: DigestHash,
    failing: bool,
    today: u32,
}

impl Model {
    /// What a Put must be answered, "stored" as `None`.
    fn put(&mut self, id: u64, content: usize, until: u32) -> Option<Answer> {
        let pending = self.failing.then_some(Answer::Pending);
        if until < self.today {
            return Some(Answer::Refused);
        }
        match self.held.get(&id).copied() {
            Some(Entry::Tombstone { content: gone, .. }) => (gone != content).then_some(Answer::Conflict),
            Some(Entry::Box { content: there, .. }) if there != content => Some(Answer::Conflict),
            Some(Entry::Box { until: kept, .. }) if kept >= until => None,
            before => {
                if !self.failing {
                    self.held.insert(id, Entry::Box { content, until });
                    if before.is_none() {
                        self.waiting.insert(id);
                    }
                }
                pending
            }
        }
    }

    fn ack(&mut self, id: u64, right: bool) -> Answer {
        match self.held.get(&id).copied() {
            None => Answer::Absent,
            Some(Entry::Tombstone { .. }) => Answer::Gone,
            Some(Entry::Box { .. }) if !right => Answer::Refused,
            Some(Entry::Box { .. }) if self.failing => Answer::Pending,
            Some(Entry::Box { content, until }) => {
                self.held.insert(id, Entry::Tombstone { content, until });
                self.waiting.remove(&id);
                Answer::Gone
            }
        }
    }

    fn expire(&mut self) {
        let today = self.today;
        self.held.retain(|_, entry| match entry {
            Entry::Box { until, .. } | Entry::Tombstone { until, .. } => *until >= today,
        });
        self.waiting.retain(|id| self.held.contains_key(id));
    }
}

fn check(steps: Vec<Step>) {
    let mut rig = Rig::new(Faulty::<MemoryStore>::default());
    let mut model = Model { today: TODAY, ..Model::default() };
    for step in steps {
        match step {
            Step::Put(id, content, days) => {
                let sealed = &variant(id, content, days).sealed;
                let answer = rig.put(sealed);
                match model.put(id, content, TODAY + days) {
                    None => assert!(is_stored(&answer, sealed), "{answer:?}"),
                    Some(expected) => assert_eq!(answer, expected),
                }
            }
            Step::Get(id) => {
                let answer = rig.get(variant(id, 0, 0).sealed.id);
                match model.held.get(&id) {
                    None => assert_eq!(answer, Answer::Absent),
                    Some(Entry::Tombstone { .. }) => assert_eq!(answer, Answer::Gone),
                    Some(Entry::Box { content, until }) => {
                        let expected = variant(id, *content, until - TODAY).sealed.clone();
                        assert_eq!(answer, Answer::Found(Box::new(expected)));
                    }
                }
            }
            // Both contents have one ack secret: it comes from the stream.
            Step::Ack(id, content, right) => {
                assert_eq!(rig.ack(variant(id, content, 0), right), model.ack(id, right));
            }
            Step::Tick => match rig.tick() {
                Err(_) => assert!(model.failing),
                Ok(published) => {
                    let signed = published.expect("every tick has a digest");
                    model.expire();
                    let tags: BTreeSet<_> = model.waiting.iter().map(|id| variant(*id, 0, 0).tag()).collect();
                    assert!(signed.digest().tags.iter().eq(tags.iter()), "{:?}", signed.digest().tags);
                    assert_eq!(signed.digest().previous, model.previous);
                    (model.previous, model.waiting) = (signed.hash(), BTreeSet::new());
                }
            },
            Step::DayPasses => {
                rig.days_pass(1);
                model.today += 1;
            }
            Step::Restart => rig.restart(),
            Step::DiskFails(fails) => {
                model.failing = fails;
                let store = rig.engine().store_mut();
                (store.apply_fails, store.expire_fails, store.drop_fails) = (fails, fails, fails);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_mailbox_does_what_its_model_does(steps in prop::collection::vec(step(), 1..60)) {
        check(steps);
    }
}
