//! Metrics over HTTP, for the machine itself. Aggregates only: no ids, no addresses, nothing per user.

use crate::epochs::LiveEpochs;
use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use prometheus_client::{encoding::text::encode, metrics::gauge::Gauge, registry::Registry};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};
use veilpost_cover::Cover;
use veilpost_packet::time::Timestamp;

/// Metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Anybody could read them.
    #[error("metrics are served on a loopback address only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot serve metrics on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
}

/// Serves `/metrics` until dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Starts serving what is registered.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub async fn start(address: SocketAddr, registry: Registry) -> Result<Self, MetricsError> {
        if !address.ip().is_loopback() {
            return Err(MetricsError::NotLoopback(address));
        }
        let bind = |error| MetricsError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let router = Router::new().route("/metrics", get(page)).with_state(Arc::new(registry));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        });
        Ok(Self { address, task })
    }

    /// Where they are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What every relay shows of its epochs.
#[derive(Debug, Clone, Default)]
pub struct EpochMetrics {
    in_force: Gauge,
    documents: Gauge,
    live_keys: Gauge,
    relaying: Gauge,
}

impl EpochMetrics {
    /// Shows the gauges in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("epoch", "Epoch of the document in force; 0: none", self.in_force.clone());
        registry.register("documents", "Network documents known", self.documents.clone());
        registry.register("live_keys", "Epochs whose packets are taken", self.live_keys.clone());
        registry.register("relaying", "1 if packets of the epoch in force are taken", self.relaying.clone());
    }

    /// Takes over how things are.
    pub fn show(&self, now: Timestamp, live: &LiveEpochs) {
        let in_force = live.documents().in_force(now).map(|document| document.epoch);
        self.in_force.set(in_force.map_or(0, |epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX)));
        self.documents.set(live.documents().iter().count() as i64);
        self.live_keys.set(live.numbers().len() as i64);
        self.relaying.set(in_force.is_some_and(|epoch| live.get(epoch).is_some()).into());
    }
}

/// What every relay shows of its own loops: aggregates, no node by name.
#[derive(Debug, Clone, Default)]
pub struct CoverMetrics {
    sent: Gauge,
    returned: Gauge,
    lost: Gauge,
    changed: Gauge,
    unready: Gauge,
    reported: Gauge,
    worst_node: Gauge,
    worst_link: Gauge,
}

impl CoverMetrics {
    /// Shows the gauges in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("loops_sent", "Own loops sent since the start", self.sent.clone());
        registry.register("loops_returned", "Own loops that came back in time", self.returned.clone());
        registry.register("loops_lost", "Own loops that did not", self.lost.clone());
        registry.register("loops_changed", "Of these, loops that came back changed", self.changed.clone());
        registry.register("loops_unready", "Ticks of the loop clock without a packet", self.unready.clone());
        registry.register("nodes_reported", "Nodes that this node reports as unreliable", self.reported.clone());
        let node = "Estimated reliability of the worst node that loops went through, in percent";
        registry.register("worst_node_percent", node, self.worst_node.clone());
        registry.register("worst_link_percent", "The same of the worst link", self.worst_link.clone());
    }

    /// Takes over how things are.
    pub fn show(&self, cover: &Cover) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (counts, mishaps, findings) = (cover.counts(), cover.mishaps(), cover.findings());
        self.sent.set(number(counts.sent));
        self.returned.set(number(counts.returned));
        self.lost.set(number(counts.lost));
        self.changed.set(number(mishaps.changed));
        self.unready.set(number(mishaps.unready));
        self.reported.set(findings.reports.len() as i64);
        self.worst_node.set((findings.worst_node * 100.0) as i64);
        self.worst_link.set((findings.worst_link * 100.0) as i64);
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn page(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    // Writing to a string does not fail; an encoder that refuses would leave a shorter page.
    let _ = encode(&mut text, &registry);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_registered_is_served() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("things", "Things counted", counter.clone());
        let server = MetricsServer::start("127.0.0.1:0".parse().unwrap(), registry).await.unwrap();
        counter.inc_by(3);
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("things_total 3"), "{answer}");
    }

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused() {
        for address in ["0.0.0.0:0", "192.0.2.1:9100", "[::]:0"] {
            let refused = MetricsServer::start(address.parse().unwrap(), Registry::default()).await;
            assert!(matches!(refused, Err(MetricsError::NotLoopback(_))), "{address}");
        }
    }
}
