//! Publishing an onion service.

use crate::{ARRIVALS, CIRCUITS, Defence, OnionStream, PORT, Reachability, TorError};
use arti_client::{
    TorClient, TorClientConfig,
    config::onion_service::{OnionServiceConfig, OnionServiceConfigBuilder},
};
use futures::{Stream, StreamExt as _};
use safelog::DisplayRedacted as _;
use std::{fmt, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tor_cell::relaycell::msg::Connected;
use tor_hsservice::{HsNickname, RendRequest, RunningOnionService, StreamRequest, status::State};
use tor_keymgr::KeystoreSelector;
use tor_proto::stream::IncomingStreamRequest;
use tor_rtcompat::{PreferredRuntime, Runtime};

/// How long a client may take from the introduction to the first byte.
const FIRST: Duration = Duration::from_secs(60);

/// A published onion service. Dropping it takes it down.
pub struct Service {
    running: Arc<RunningOnionService>,
    address: String,
}

impl Service {
    /// Its address, `….onion`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How it stands.
    pub fn reachability(&self) -> Reachability {
        match self.running.status().state() {
            State::Running | State::DegradedReachable => Reachability::Reachable,
            State::Bootstrapping | State::Shutdown => Reachability::Starting,
            State::DegradedUnreachable | State::Recovering => Reachability::Impaired,
            _ => Reachability::Broken,
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service(..)")
    }
}

fn wrong(error: impl fmt::Display) -> TorError {
    TorError::Publish(error.to_string())
}

fn config(nickname: &str, defence: Defence) -> Result<OnionServiceConfig, TorError> {
    OnionServiceConfigBuilder::default()
        .nickname(HsNickname::new(nickname.to_owned()).map_err(wrong)?)
        .enable_pow(defence == Defence::Work)
        .max_concurrent_streams_per_circuit(1)
        .build()
        .map_err(wrong)
}

/// The address under which a service of this name would be published; its key is made if it is not there.
pub(crate) fn address(arti: &TorClientConfig, nickname: &str) -> Result<String, TorError> {
    // arti wants a runtime of its own for it, on which nothing runs; the caller may be inside of another one.
    let made = std::thread::scope(|scope| scope.spawn(|| key(arti, nickname)).join());
    made.unwrap_or_else(|_| Err(wrong("its key cannot be made")))
}

fn key(arti: &TorClientConfig, nickname: &str) -> Result<String, TorError> {
    let runtime = PreferredRuntime::create().map_err(wrong)?;
    let client = TorClient::with_runtime(runtime).config(arti.clone()).create_inert().map_err(wrong)?;
    let service = client.create_onion_service(arti, config(nickname, Defence::Bounds)?).map_err(wrong)?;
    let name = service.generate_identity_key(KeystoreSelector::Primary).map_err(wrong)?;
    Ok(name.display_unredacted().to_string())
}

pub(crate) fn publish<R: Runtime>(
    client: &Arc<TorClient<R>>,
    nickname: &str,
    defence: Defence,
) -> Result<(Service, mpsc::Receiver<OnionStream>), TorError> {
    let launched = client.launch_onion_service(config(nickname, defence)?).map_err(wrong)?;
    let (running, requests) = launched.ok_or_else(|| wrong("it is switched off"))?;
    let name = running.onion_address().ok_or_else(|| wrong("it has no key"))?;
    let (send, arrivals) = mpsc::channel(ARRIVALS);
    tokio::spawn(serve(requests, send));
    Ok((Service { running, address: name.display_unredacted().to_string() }, arrivals))
}

/// Takes introductions until the service is taken down or nobody wants its streams.
async fn serve(requests: impl Stream<Item = RendRequest> + Send, arrivals: mpsc::Sender<OnionStream>) {
    let circuits = Arc::new(Semaphore::new(CIRCUITS));
    let mut requests = pin!(requests);
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = arrivals.closed() => return,
        };
        let Some(request) = request else { return };
        // More than that are left to wait at the introduction point, and give up.
        let Ok(place) = Arc::clone(&circuits).try_acquire_owned() else { continue };
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            if let Ok(Some(stream)) = timeout(FIRST, meet(request, place)).await {
                // Nobody takes streams any more: it is closed.
                let _ = arrivals.send(stream).await;
            }
        });
    }
}

/// One circuit to a rendezvous point, and the one stream that it may carry.
async fn meet(request: RendRequest, place: OwnedSemaphorePermit) -> Option<OnionStream> {
    let streams = request.accept().await.ok()?;
    let request: StreamRequest = pin!(streams).next().await?;
    let wanted = matches!(request.request(), IncomingStreamRequest::Begin(begin) if begin.port() == PORT);
    if !wanted {
        // It speaks to somebody else.
        let _ = request.shutdown_circuit();
        return None;
    }
    let stream = request.accept(Connected::new_empty()).await.ok()?;
    Some(OnionStream::new(stream, place))
}
