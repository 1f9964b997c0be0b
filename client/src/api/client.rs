//! The API from the other side, as the command line uses it: one connection for each call, each with a deadline.

use super::types::{Event, Refusal, RefusalCode};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, path::PathBuf, time::Duration};
use tokio::net::UnixStream;

/// How long a call may take: above the daemon's own deadlines, so that its words are what people read.
const DEADLINE: Duration = Duration::from_secs(200);
/// How long the daemon may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an answer: a page of the inbox, or a file of 64 MiB.
const ANSWER_MAX: usize = 80 * 1024 * 1024;
/// Bytes of one event.
const EVENT_MAX: usize = 64 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("the daemon is not running; start it with `veilpost daemon`")]
    NoDaemon,
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer in time.
    #[error("the daemon does not answer")]
    TimedOut,
    /// What answers is not this daemon, or it went away in the middle.
    #[error("the daemon went away or is of another version; restart it with `veilpost stop` and `veilpost daemon`")]
    Broken,
}

/// Knows where the daemon's socket is.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the daemon at this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// GET of a JSON answer.
    ///
    /// # Errors
    /// See [`ClientError`]: so for all calls.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.call(Method::GET, path, "", Bytes::new()).await?)
    }

    /// GET of bytes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.call(Method::GET, path, "", Bytes::new()).await
    }

    /// POST of JSON with a JSON answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|_| ClientError::Broken)?;
        parse(&self.call(Method::POST, path, "application/json", body.into()).await?)
    }

    /// POST of bytes with a JSON answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        parse(&self.call(Method::POST, path, media_type, body.into()).await?)
    }

    /// POST without a body or an answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_empty(&self, path: &str) -> Result<(), ClientError> {
        self.call(Method::POST, path, "", Bytes::new()).await.map(|_| ())
    }

    /// Events from now on.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn events(&self) -> Result<Events, ClientError> {
        let answer = self.exchange(Method::GET, "/v1/events", "", Bytes::new());
        let answer = tokio::time::timeout(CONNECT_DEADLINE, answer).await.map_err(|_| ClientError::TimedOut)??;
        if answer.status() != StatusCode::OK {
            return Err(refusal(&whole(answer).await?));
        }
        Ok(Events { body: answer.into_body(), line: Vec::new(), ready: VecDeque::new() })
    }

    async fn call(&self, method: Method, path: &str, media_type: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let exchange = async {
            let answer = self.exchange(method, path, media_type, body).await?;
            let ok = answer.status().is_success();
            let bytes = whole(answer).await?;
            if ok { Ok(bytes) } else { Err(refusal(&bytes)) }
        };
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| ClientError::TimedOut)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let connecting = tokio::time::timeout(CONNECT_DEADLINE, UnixStream::connect(&self.socket));
        let stream = connecting.await.map_err(|_| ClientError::TimedOut)?.map_err(|_| ClientError::NoDaemon)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| ClientError::Broken)?;
        // Ends with the answer's body.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if !media_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let request = request.body(Full::new(body)).map_err(|_| ClientError::Broken)?;
        sender.send_request(request).await.map_err(|_| ClientError::Broken)
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    /// The line that is not ended yet.
    line: Vec<u8>,
    ready: VecDeque<Event>,
}

impl Events {
    /// The next event; `None` when the daemon has ended. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            for &byte in frame.data_ref().map(|data| data.as_ref()).unwrap_or_default() {
                self.push(byte)?;
            }
        }
    }

    /// Server-sent events of this daemon have one line of JSON each. `None` if a line is longer than any of its events.
    fn push(&mut self, byte: u8) -> Option<()> {
        if byte != b'\n' {
            self.line.push(byte);
            return (self.line.len() <= EVENT_MAX).then_some(());
        }
        let line = std::mem::take(&mut self.line);
        let event = line.strip_prefix(b"data:").and_then(|json| serde_json::from_slice(json).ok());
        self.ready.extend(event);
        Some(())
    }
}

/// A path segment with everything but letters, digits and a few safe characters escaped.
pub fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for &byte in segment.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            data_encoding::HEXUPPER.encode_append(&[byte], &mut out);
        }
    }
    out
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    match Limited::new(answer.into_body(), ANSWER_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(RefusalCode::TooLarge, "the daemon's answer is larger than it may be").into())
        }
        Err(_) => Err(ClientError::Broken),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|_| ClientError::Broken)
}

fn refusal(bytes: &[u8]) -> ClientError {
    serde_json::from_slice::<Refusal>(bytes).map_or(ClientError::Broken, ClientError::Refused)
}
