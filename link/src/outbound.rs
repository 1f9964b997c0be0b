//! A link that dials again by itself.

use crate::{
    DialError, Endpoint, FrameReceiver, SendError,
    carrier::{Carrier, Writing},
    frames::{Ended, flush, write_frames},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use veilpost_packet::{frame::Frame, ids::LinkKey};

/// First wait after a failure; doubles with every further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The wait does not grow beyond this. Each wait is drawn from its half to its whole, so that many dialers spread out.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A link that held this long counts as a success, after which waits start small again.
const STEADY: Duration = Duration::from_secs(5);
/// Frames that wait for the owner of the event channel; beyond it the peer is slowed down by flow control.
const EVENTS: usize = 256;

/// Whether an [`Outbound`] has a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Dialing or waiting to dial.
    Down,
    /// Up; the number is the one that was handed to the Hello closure.
    Up(u64),
}

/// What comes back from an [`Outbound`], in order.
#[derive(Debug)]
pub enum Event {
    /// A link is up. `connection` is the number that was handed to the Hello closure, `hello` the peer's first frame.
    Up {
        /// Counts dial attempts from 1.
        connection: u64,
        /// The peer's first frame.
        hello: Frame,
    },
    /// A frame of the link that is up.
    Frame(Frame),
    /// The link is gone; the next one is being dialed.
    Down,
}

/// A link to one peer that is dialed again whenever it is lost: after 100 ms at first, doubling to 10 s, with jitter.
///
/// Frames wait in one bounded queue while the link is down or slow; at the bound the newest is refused and counted. What was
/// handed to a connection that then dies is lost, as on any link. Dropping it flushes and closes.
pub struct Outbound {
    queue: mpsc::Sender<Frame>,
    state: watch::Receiver<LinkState>,
    refused: AtomicU64,
    close: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Outbound {
    /// Starts dialing. `queue` bounds the frames that wait; `hello` makes the first frame of each attempt and gets the
    /// attempt's number, from 1. Drop the receiver if nothing is expected back: frames are then read and thrown away.
    pub fn start(
        endpoint: Endpoint,
        address: SocketAddr,
        peer: LinkKey,
        queue: usize,
        hello: impl FnMut(u64) -> Frame + Send + 'static,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (sender, frames) = mpsc::channel(queue.max(1));
        let (events, received) = mpsc::channel(EVENTS);
        let (state_writer, state) = watch::channel(LinkState::Down);
        let close = Arc::new(Notify::new());
        let dialer =
            Dialer { endpoint, address, peer, hello, frames, events, state: state_writer, close: Arc::clone(&close) };
        let task = tokio::spawn(dialer.run());
        (Self { queue: sender, state, refused: AtomicU64::new(0), close, task }, received)
    }

    /// Queues a frame without waiting, whether the link is up or not.
    ///
    /// # Errors
    /// [`SendError::Full`] at the queue's bound (counted); [`SendError::Closed`] after a close.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        self.queue.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                SendError::Full
            }
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Frames refused at the bound so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Frames that wait now.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// True while a link is up.
    pub fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Up(_))
    }

    /// The state, to watch.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Sends what is queued if the link is up, closes it and stops dialing. Returns after `deadline` at the latest.
    pub async fn close(mut self, deadline: Duration) {
        self.close.notify_one();
        if timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

struct Dialer<H> {
    endpoint: Endpoint,
    address: SocketAddr,
    peer: LinkKey,
    hello: H,
    frames: mpsc::Receiver<Frame>,
    events: mpsc::Sender<Event>,
    state: watch::Sender<LinkState>,
    close: Arc<Notify>,
}

/// Whether to go on dialing.
#[derive(PartialEq, Eq)]
enum Next {
    Dial,
    Stop,
}

impl<H: FnMut(u64) -> Frame + Send> Dialer<H> {
    async fn run(mut self) {
        let mut rng = ChaCha20Rng::from_os_rng();
        let mut backoff = BACKOFF_FIRST;
        for attempt in 1.. {
            let since = Instant::now();
            if self.once(attempt).await == Next::Stop {
                return;
            }
            backoff = if since.elapsed() >= STEADY { BACKOFF_FIRST } else { backoff };
            let wait = backoff.mul_f64(rng.random_range(0.5..1.0));
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let mut stopping = self.endpoint.stopping();
            tokio::select! {
                () = sleep(wait) => {}
                () = self.close.notified() => return,
                _ = stopping.wait_for(|&stop| stop) => return,
            }
            if self.frames.is_closed() {
                return;
            }
        }
    }

    /// One attempt and, if it succeeds, the life of its link.
    async fn once(&mut self, attempt: u64) -> Next {
        let hello = (self.hello)(attempt);
        let opened =
            timeout(self.endpoint.limits().handshake, self.endpoint.open_link(self.address, &self.peer, hello));
        let opened = tokio::select! {
            opened = opened => opened.unwrap_or(Err(DialError::Deadline)),
            () = self.close.notified() => return Next::Stop,
        };
        let ((hello, receiver), sending, carrier) = match opened {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(%error, attempt, "a link could not be opened");
                return Next::Dial;
            }
        };
        self.state.send_replace(LinkState::Up(attempt));
        let next = self.pump(attempt, hello, receiver, sending, carrier).await;
        self.state.send_replace(LinkState::Down);
        next
    }

    /// Both directions of a link, until it ends.
    async fn pump(
        &mut self,
        connection_number: u64,
        hello: Frame,
        receiver: FrameReceiver,
        mut sending: Writing,
        carrier: Carrier,
    ) -> Next {
        let limits = *self.endpoint.limits();
        let mut stopping = self.endpoint.stopping();
        let stop = async {
            tokio::select! {
                () = self.close.notified() => {}
                _ = stopping.wait_for(|&stop| stop) => {}
            }
        };
        let mut reader = tokio::spawn(read_events(connection_number, hello, receiver, self.events.clone()));
        let ended = write_frames(&mut self.frames, &mut sending, &carrier, stop, &limits).await;
        if ended == Ended::Asked {
            self.frames.close();
            flush(&mut self.frames, &mut sending, &carrier, &limits).await;
        }
        carrier.close();
        if ended == Ended::Lost {
            // The reader tells the owner about the end itself, after the last frame; a slow owner delays the next dial.
            tokio::select! {
                _ = &mut reader => return Next::Dial,
                () = self.close.notified() => {}
            }
        }
        // Nobody may be listening any more; a blocked reader must not outlive the close.
        reader.abort();
        Next::Stop
    }
}

/// Hands everything that comes to the owner. Without an owner it reads on, so that the peer can finish.
async fn read_events(connection: u64, hello: Frame, mut receiver: FrameReceiver, events: mpsc::Sender<Event>) {
    let _ = events.send(Event::Up { connection, hello }).await;
    let mut batch = Vec::new();
    loop {
        let received = receiver.recv_batch(&mut batch, usize::MAX).await;
        for frame in batch.drain(..) {
            let _ = events.send(Event::Frame(frame)).await;
        }
        if !matches!(received, Ok(1..)) {
            break;
        }
    }
    let _ = events.send(Event::Down).await;
}
