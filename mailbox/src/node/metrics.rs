//! What the operator sees: aggregates, no ids.

use super::core::Outbounds;
use crate::{
    engine::{Counters, Mailbox},
    store::BoxStore,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use veilpost_daemon::metrics::{CoverMetrics, EpochMetrics};
use veilpost_pki::admission::DropReason;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    word: &'static str,
}

/// Counters of a mailbox.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub packets_in: Counter,
    pub commands_in: Counter,
    pub replies: Counter,
    dropped: Family<Word, Counter>,
    answers: Family<Word, Gauge>,
    fill: Gauge,
    boxes: Gauge,
    tombstones: Gauge,
    waiting_replies: Gauge,
    links_down: Gauge,
    peers_heard: Gauge,
    peer_items_dropped: Gauge,
    sweep_looked_at: Gauge,
    sweep_missing: Gauge,
    tags: Gauge,
    tags_memory: Gauge,
    pub epochs: EpochMetrics,
    pub cover: CoverMetrics,
}

impl Metrics {
    /// Counters, and a registry that shows them.
    pub(super) fn new() -> (Self, Registry) {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("veilpost_mailbox");
        registry.register("packets_in", "Packets that came over links", metrics.packets_in.clone());
        registry.register("commands_in", "Commands that came through the onion service", metrics.commands_in.clone());
        registry.register(
            "replies",
            "Replies handed to the link of their first mix, or to their stream",
            metrics.replies.clone(),
        );
        registry.register("dropped", "Packets dropped, by reason", metrics.dropped.clone());
        registry.register("answers", "Commands since the start, by outcome", metrics.answers.clone());
        registry.register("fill_percent", "How much of what may be stored is in use", metrics.fill.clone());
        registry.register("boxes", "Boxes held", metrics.boxes.clone());
        registry.register("tombstones", "Tombstones held", metrics.tombstones.clone());
        registry.register("waiting_replies", "Replies that wait for their time", metrics.waiting_replies.clone());
        registry.register(
            "links_down",
            "Links to mixes, entries and mailboxes that are down",
            metrics.links_down.clone(),
        );
        registry.register("peers_heard", "Other mailboxes that are heard", metrics.peers_heard.clone());
        registry.register(
            "peer_items_dropped",
            "Items for other mailboxes that full queues dropped",
            metrics.peer_items_dropped.clone(),
        );
        registry.register(
            "sweep_looked_at",
            "Entries that the present or last pass over all boxes has looked at",
            metrics.sweep_looked_at.clone(),
        );
        registry.register(
            "sweep_missing",
            "Of these, boxes of which a holder is missing still",
            metrics.sweep_missing.clone(),
        );
        registry.register("replay_tags", "Tags in the replay tables of live epochs", metrics.tags.clone());
        registry.register("replay_bytes", "Memory of the replay tables", metrics.tags_memory.clone());
        metrics.epochs.register(&mut registry);
        metrics.cover.register(&mut registry);
        (metrics, registry)
    }

    /// The counter of a reason.
    pub(super) fn dropped(&self, reason: DropReason) -> Counter {
        self.dropped.get_or_create_owned(&Word { word: reason.name() })
    }

    /// Shows the replay tables.
    pub(super) fn show_tags(&self, tags: usize, bytes: usize) {
        self.tags.set(i64::try_from(tags).unwrap_or(i64::MAX));
        self.tags_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Takes over what the engine has counted.
    pub(super) fn show<S: BoxStore>(&self, engine: &Mailbox<S>, outbound: &Outbounds) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let Counters {
            stored,
            found,
            not_found,
            acknowledged,
            loops,
            conflicts,
            full,
            refused,
            bad_puzzle,
            overflow,
            store_failures,
            copied,
            handed_over,
            replaced,
            repaired,
            bad_peer_items,
        } = engine.counters();
        let outcomes = [
            ("stored", stored),
            ("found", found),
            ("not_found", not_found),
            ("acknowledged", acknowledged),
            ("loop", loops),
            ("conflict", conflicts),
            ("full", full),
            ("refused", refused),
            ("bad_puzzle", bad_puzzle),
            ("overflow", overflow),
            ("store_failure", store_failures),
            ("copied", copied),
            ("handed_over", handed_over),
            ("replaced", replaced),
            ("repaired", repaired),
            ("bad_peer_item", bad_peer_items),
        ];
        for (word, count) in outcomes {
            self.answers.get_or_create_owned(&Word { word }).set(number(count));
        }
        let usage = engine.usage();
        self.fill.set(i64::from(engine.fill()));
        self.boxes.set(number(usage.boxes));
        self.tombstones.set(number(usage.tombstones));
        self.waiting_replies.set(number(engine.waiting_replies() as u64));
        self.links_down.set(number(outbound.down() as u64));
        self.peers_heard.set(number(engine.peers().0 as u64));
        self.peer_items_dropped.set(number(engine.peer_items_dropped()));
        let sweep = engine.sweep_progress();
        self.sweep_looked_at.set(number(sweep.looked_at));
        self.sweep_missing.set(number(sweep.missing));
    }
}
