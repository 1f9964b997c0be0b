//! The public face of an authority: a status page for people, the document for programs. Read only; nothing here says more than
//! the document and the rounds say to everyone.

use super::core::{Page, Public};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use std::{fmt::Write as _, net::SocketAddr, sync::Arc};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use veilpost_daemon::stop::Failure;
use veilpost_packet::{codec::Writer, time::Timestamp};
use veilpost_pki::{Document, document::Place, schedule::Phase};

/// Serves until dropped.
pub(super) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Site {
    network: Arc<str>,
    public: watch::Receiver<Public>,
}

impl Server {
    pub(super) async fn start(
        address: SocketAddr,
        network: String,
        public: watch::Receiver<Public>,
    ) -> Result<Self, Failure> {
        let busy = |error| Failure::Runtime(format!("cannot serve the status page on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(busy)?;
        let address = listener.local_addr().map_err(busy)?;
        let router = Router::new()
            .route("/", get(page))
            .route("/status.json", get(status))
            .route("/document", get(document))
            .route("/proofs", get(proofs))
            .with_state(Site { network: network.into(), public });
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the status page is no longer served");
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bytes(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], Bytes::from(bytes)).into_response()
}

async fn document(State(site): State<Site>) -> Response {
    match site.public.borrow().documents.last() {
        Some(document) => bytes(document.bytes().to_vec()),
        None => (StatusCode::NOT_FOUND, "there is no document yet\n").into_response(),
    }
}

/// Every proof of a lie, one behind the other.
async fn proofs(State(site): State<Site>) -> Response {
    let mut writer = Writer::default();
    let public = site.public.borrow().clone();
    public.page.iter().flat_map(|page| &page.status.proofs).for_each(|proof| proof.write(&mut writer));
    bytes(writer.finish())
}

fn when(at: Timestamp) -> String {
    let at = i64::try_from(at.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

fn phase(phase: Option<Phase>) -> String {
    match phase {
        None => "between two rounds".into(),
        Some(Phase::Descriptors) => "nodes publish their descriptors".into(),
        Some(Phase::Vote) => "votes".into(),
        Some(Phase::Certify(step)) => format!("votes are vouched for, step {step}"),
        Some(Phase::Reveal) => "random values are revealed".into(),
        Some(Phase::Confirm(step)) => format!("random values are vouched for, step {step}"),
        Some(Phase::Signature) => "signatures".into(),
        Some(Phase::Publish) => "published".into(),
    }
}

async fn status(State(site): State<Site>) -> Response {
    let public = site.public.borrow().clone();
    let Some(page) = &public.page else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let newest = public.documents.last();
    Json(serde_json::json!({
        "network": &*site.network,
        "epoch": page.epoch.0,
        "round": {
            "for_epoch": page.status.target.0,
            "phase": phase(page.status.phase),
            "votes": page.status.votes,
            "signatures": page.status.signatures,
            "failure": page.status.failure,
        },
        "document": newest.map(|document| serde_json::json!({
            "epoch": document.epoch.0,
            "valid_until": when(document.valid_until),
            "nodes": document.relays().count(),
        })),
        "authorities": page.peers.iter().map(|(id, up)| serde_json::json!({"id": id, "reachable": up})).collect::<Vec<_>>(),
        "admitted": page.admitted,
        "descriptors": page.status.descriptors,
        "liars": page.status.proofs.iter().map(|proof| proof.author()).collect::<Vec<_>>(),
        "warnings": warnings(page, newest),
    }))
    .into_response()
}

/// What an operator should look at.
fn warnings(page: &Page, newest: Option<&Document>) -> Vec<String> {
    let mut warnings = Vec::new();
    match newest {
        None if page.epoch.0 > 0 => warnings.push("there is no document yet".into()),
        // The document of the epoch is made an epoch ahead; one that lags says that rounds fail.
        Some(document) if document.epoch < page.epoch => warnings.push(format!(
            "the network runs on the document of epoch {}, which is {} old; it is valid until {}",
            document.epoch.0,
            match page.epoch.0 - document.epoch.0 {
                1 => "one epoch".into(),
                epochs => format!("{epochs} epochs"),
            },
            when(document.valid_until)
        )),
        _ => {}
    }
    let down = page.peers.values().filter(|up| !**up).count();
    if down > 0 {
        warnings.push(format!("{down} of {} other authorities cannot be reached", page.peers.len()));
    }
    if let Some(failure) = &page.status.failure {
        warnings.push(format!("the round for epoch {} fails: {failure}", page.status.target.0));
    }
    for proof in &page.status.proofs {
        warnings.push(format!("{} is proved to lie; its votes do not count", proof.author()));
    }
    warnings
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2128;\
background:#fff}h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;\
width:100%}td,th{text-align:left;padding:.3rem .75rem .3rem 0;border-bottom:1px solid #d8dee4;vertical-align:top}\
code{font:13px ui-monospace,monospace;word-break:break-all}.muted{color:#59636e}.warn{background:#fff4d6;border-left:4px solid \
#bf8700;padding:.5rem .75rem;margin:.5rem 0}.good{color:#1a7f37}.bad{color:#b3261e}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}.muted{color:#9198a1}\
.warn{background:#3b2e05}.good{color:#3fb950}.bad{color:#f85149}}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Writing to a string does not fail.
macro_rules! line {
    ($html:expr, $($argument:tt)*) => { let _ = writeln!($html, $($argument)*); };
}

async fn page(State(site): State<Site>) -> Response {
    let public = site.public.borrow().clone();
    let Some(page) = &public.page else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let newest = public.documents.last();
    let name = escape(&site.network);
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta http-equiv=refresh content=30><title>{name}: authority</title><style>{STYLE}</style><h1>{name}</h1>\
         <p class=muted>An authority of this Veilpost network. Epoch {} by its clock.</p>",
        page.epoch.0
    );
    for warning in warnings(page, newest) {
        line!(html, "<p class=warn>{}</p>", escape(&warning));
    }
    round(&mut html, page);
    if let Some(document) = newest {
        listed(&mut html, document);
    }
    if !page.events.is_empty() {
        html.push_str("<h2>Lately</h2><table>");
        for (at, event) in page.events.iter().rev() {
            line!(html, "<tr><td class=muted>{}<td>{}", when(*at), escape(event));
        }
        html.push_str("</table>");
    }
    html.push_str("<p class=muted><a href=document>document</a> · <a href=status.json>status.json</a> · <a href=proofs>proofs of lies</a>");
    Html(html).into_response()
}

fn round(html: &mut String, page: &Page) {
    line!(html, "<h2>Round for epoch {}</h2><table>", page.status.target.0);
    line!(html, "<tr><th>Phase<td>{}", phase(page.status.phase));
    line!(html, "<tr><th>Votes here<td>{} of {}", page.status.votes, page.peers.len() + 1);
    line!(html, "<tr><th>Signatures here<td>{}", page.status.signatures);
    line!(
        html,
        "<tr><th>Descriptors for the next vote<td>{} of {} admitted nodes",
        page.status.descriptors,
        page.admitted
    );
    html.push_str("</table>");
    if page.peers.is_empty() {
        return;
    }
    html.push_str("<h2>Other authorities</h2><table>");
    for (id, up) in &page.peers {
        let (class, word) = if *up { ("good", "reachable") } else { ("bad", "not reachable") };
        line!(html, "<tr><td><code>{id}</code><td class={class}>{word}");
    }
    html.push_str("</table>");
}

fn listed(html: &mut String, document: &Document) {
    line!(html, "<h2>Document of epoch {}</h2><table>", document.epoch.0);
    line!(html, "<tr><th>Valid<td>{} to {}", when(document.valid_after), when(document.valid_until));
    line!(html, "<tr><th>Size<td>{} bytes", document.bytes().len());
    html.push_str("</table><h2>Nodes</h2><table><tr><th>Place<th>Id<th>Address");
    for (place, relay) in document.relays() {
        let place = match place {
            Place::Mix(layer) => format!("mix, layer {layer}"),
            Place::Entry => "entry".into(),
            Place::Mailbox => "mailbox".into(),
        };
        let addresses: Vec<_> = relay.addresses.iter().map(ToString::to_string).collect();
        line!(html, "<tr><td>{place}<td><code>{}</code><td>{}", relay.id, escape(&addresses.join(", ")));
    }
    html.push_str("</table><h2>Parameters</h2><table>");
    for (name, value) in document.params.values() {
        if veilpost_pki::params::is_duration(name) {
            line!(html, "<tr><td>{name}<td>{:?}", std::time::Duration::from_micros(value));
        } else {
            line!(html, "<tr><td>{name}<td>{value}");
        }
    }
    html.push_str("</table>");
}
