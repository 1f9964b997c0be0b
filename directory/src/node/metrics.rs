//! Counters of an authority.

use super::core::Page;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use veilpost_pki::wire::DescriptorAnswer;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    answer: &'static str,
}

#[derive(Default)]
pub(super) struct Metrics {
    pub(super) documents: Counter,
    pub(super) failures: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) malformed: Counter,
    pub(super) lost: Counter,
    descriptors: Family<Answered, Counter>,
    epoch: Gauge,
    newest: Gauge,
    peers: Gauge,
    proofs: Gauge,
}

impl Metrics {
    pub(super) fn new() -> (Self, Registry) {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("veilpost_directory");
        registry.register("documents", "Documents that became known", metrics.documents.clone());
        registry.register("failed_rounds", "Rounds that ended without a document here", metrics.failures.clone());
        registry.register("sent_bytes", "Bytes of records sent", metrics.sent.clone());
        registry.register("received_bytes", "Bytes of records that authorities sent", metrics.received.clone());
        registry.register("malformed", "Records of authorities that do not decode", metrics.malformed.clone());
        registry.register("lost", "Messages to authorities dropped since their queue was full", metrics.lost.clone());
        registry.register("descriptors", "Descriptors, by what became of them", metrics.descriptors.clone());
        registry.register("epoch", "The epoch by this machine's clock", metrics.epoch.clone());
        registry.register("newest_document", "Epoch of the newest document", metrics.newest.clone());
        registry.register("peers", "Other authorities that can be reached", metrics.peers.clone());
        registry.register("proofs", "Authorities that are proved to lie", metrics.proofs.clone());
        (metrics, registry)
    }

    pub(super) fn descriptor(&self, answer: DescriptorAnswer) {
        let answer = match answer {
            DescriptorAnswer::Taken => "taken",
            DescriptorAnswer::Late => "late",
            DescriptorAnswer::Early => "early",
            DescriptorAnswer::NotAdmitted => "not_admitted",
            DescriptorAnswer::Different => "different",
            DescriptorAnswer::Malformed => "malformed",
            DescriptorAnswer::OtherLink => "other_link",
        };
        self.descriptors.get_or_create(&Answered { answer }).inc();
    }

    pub(super) fn show(&self, page: &Page) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.epoch.set(number(page.epoch.0));
        self.newest.set(number(page.newest.0));
        self.peers.set(number(page.peers.values().filter(|up| **up).count() as u64));
        self.proofs.set(number(page.status.proofs.len() as u64));
    }
}
