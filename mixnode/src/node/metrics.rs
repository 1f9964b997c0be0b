//! What the operator sees: aggregates, no ids.

use crate::DropReason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use veilpost_daemon::metrics::{CoverMetrics, EpochMetrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of a relay.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) packets_in: Counter,
    pub(crate) forwarded: Counter,
    pub(crate) downlink: Counter,
    dropped: Family<Reason, Counter>,
    pub(crate) delayed: Gauge,
    pub(crate) outbound: Gauge,
    pub(crate) links_down: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) puzzles_asked: Counter,
    pub(crate) tags: Gauge,
    pub(crate) tags_memory: Gauge,
    pub(crate) epochs: EpochMetrics,
    pub(crate) cover: CoverMetrics,
    pub(crate) unwrap: Histogram,
}

impl Metrics {
    /// Counters, and a registry that shows them.
    pub(crate) fn new() -> (Self, Registry) {
        let metrics = Self {
            packets_in: Counter::default(),
            forwarded: Counter::default(),
            downlink: Counter::default(),
            dropped: Family::default(),
            delayed: Gauge::default(),
            outbound: Gauge::default(),
            links_down: Gauge::default(),
            sessions: Gauge::default(),
            puzzles_asked: Counter::default(),
            tags: Gauge::default(),
            tags_memory: Gauge::default(),
            epochs: EpochMetrics::default(),
            cover: CoverMetrics::default(),
            // 32 us to 8 ms.
            unwrap: Histogram::new(exponential_buckets(32e-6, 2.0, 9)),
        };
        for reason in DropReason::ALL {
            metrics.dropped(reason);
        }
        let mut registry = Registry::with_prefix("veilpost_mixnode");
        registry.register("packets_in", "Packets that came over links", metrics.packets_in.clone());
        registry.register("forwarded", "Packets handed to the link of their next node", metrics.forwarded.clone());
        registry.register("downlink_frames", "Frames sent to clients, dummies included", metrics.downlink.clone());
        registry.register("dropped", "Packets and frames dropped, by reason", metrics.dropped.clone());
        registry.register("delayed", "Packets that wait for their moment", metrics.delayed.clone());
        registry.register("outbound", "Packets that wait for a link", metrics.outbound.clone());
        registry.register("links_down", "Links to next nodes that are down", metrics.links_down.clone());
        registry.register("sessions", "Open sessions of clients", metrics.sessions.clone());
        let asked = "Clients that were asked for a puzzle before a session";
        registry.register("session_puzzles_asked", asked, metrics.puzzles_asked.clone());
        registry.register("replay_tags", "Tags in the replay tables of live epochs", metrics.tags.clone());
        registry.register("replay_bytes", "Memory of the replay tables", metrics.tags_memory.clone());
        metrics.epochs.register(&mut registry);
        metrics.cover.register(&mut registry);
        registry.register("unwrap_seconds", "Time to unwrap a packet", metrics.unwrap.clone());
        (metrics, registry)
    }

    /// The counter of a reason.
    pub(crate) fn dropped(&self, reason: DropReason) -> Counter {
        self.dropped.get_or_create_owned(&Reason { reason: reason.name() })
    }
}
