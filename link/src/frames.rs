//! The two halves of a link in use. The sender's queue is drained by one writer task per link, which turns what waits into
//! few writes; the receiver cuts what has arrived into frames. Neither allocates more than its bound.

use crate::{
    Limits, RecvError, SendError,
    carrier::{Carrier, Reading, Writing},
    wire::Traffic,
};
use std::{fmt, pin::pin, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use veilpost_packet::{
    frame::{Frame, FrameKind},
    geometry::FRAME,
};

/// Frames that one write takes: beyond it the cost per frame no longer falls.
const WRITE_BATCH: usize = 16;
/// Frames that one read takes: bounds a link's read buffer to 35 kB.
const READ_BATCH: usize = 8;

/// Queues frames for a link's writer. Clones share the queue; when all are dropped the link is flushed and closed.
#[derive(Clone)]
pub struct FrameSender {
    queue: mpsc::Sender<Frame>,
    close: Arc<Notify>,
}

impl FrameSender {
    /// Queues a frame without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] at the bound of [`Limits::send_queue`]; [`SendError::Closed`] once the link is closing or gone.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        self.queue.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Queues a frame, waiting for room; [`Limits::write`] bounds the wait, since a writer without progress for that long
    /// closes the link.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the link is closing or gone.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        self.queue.send(frame).await.map_err(|_| SendError::Closed)
    }

    /// Frames that fit into the queue now.
    pub fn room(&self) -> usize {
        self.queue.capacity()
    }

    /// Closes the link after what is queued has been sent (at most [`Limits::flush`] is waited for the peer).
    pub fn close(&self) {
        self.close.notify_one();
    }

    /// Completes when the link is closing or gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSender").field("room", &self.room()).finish()
    }
}

/// Receives a link's frames in order.
pub struct FrameReceiver {
    carrier: Carrier,
    stream: Reading,
    /// Room for [`READ_BATCH`] frames, made with the first read; the first `filled` bytes are an unfinished frame.
    buffer: Vec<u8>,
    filled: usize,
    /// When the last bytes came.
    heard: Instant,
}

impl FrameReceiver {
    pub(crate) fn new(carrier: Carrier, stream: Reading) -> Self {
        Self { carrier, stream, buffer: Vec::new(), filled: 0, heard: Instant::now() }
    }

    /// Waits for at least one frame and appends what has arrived, at most `max` (at least 1, at most 8 at a time), to
    /// `frames`. Returns how many; 0 means that the peer closed the link cleanly, which ends both directions. Cancel-safe: a
    /// dropped call loses nothing.
    ///
    /// # Errors
    /// [`RecvError`]; the link is closed then. Frames before a malformed one are still appended.
    pub async fn recv_batch(&mut self, frames: &mut Vec<Frame>, max: usize) -> Result<usize, RecvError> {
        self.buffer.resize(READ_BATCH * FRAME, 0);
        let limit = max.clamp(1, READ_BATCH) * FRAME;
        loop {
            let room = self.buffer.get_mut(self.filled..limit).unwrap_or_default();
            match read(&mut self.stream, room, &self.carrier, self.heard).await {
                // The peer waits with its close until we have read everything: this tells it.
                Some(0) if self.filled == 0 => {
                    self.carrier.close();
                    return Ok(0);
                }
                Some(0) => return Err(self.fail(RecvError::Short)),
                Some(count) => (self.filled, self.heard) = (self.filled + count, Instant::now()),
                None => return Err(self.fail(RecvError::Lost)),
            }
            let whole = self.filled / FRAME;
            if whole > 0 {
                return self.cut(whole, frames);
            }
        }
    }

    /// The next frame; `None` if the peer ended the stream cleanly. Cancel-safe.
    ///
    /// # Errors
    /// As [`FrameReceiver::recv_batch`].
    pub async fn recv(&mut self) -> Result<Option<Frame>, RecvError> {
        let mut one = Vec::with_capacity(1);
        self.recv_batch(&mut one, 1).await?;
        Ok(one.pop())
    }

    /// What has crossed the link so far, both ways, the handshake included; nothing of a link over a byte stream, which is counted by
    /// who carries it.
    pub fn traffic(&self) -> Traffic {
        self.carrier.traffic()
    }

    /// Closes the link at once, both directions; what is queued is lost.
    pub fn close(&self) {
        self.carrier.close();
    }

    fn cut(&mut self, whole: usize, frames: &mut Vec<Frame>) -> Result<usize, RecvError> {
        let received = self.buffer.get(..whole * FRAME).unwrap_or_default();
        for bytes in received.chunks_exact(FRAME) {
            match Frame::from_bytes(bytes) {
                Ok(frame) => frames.push(frame),
                Err(_) => return Err(self.fail(RecvError::Malformed)),
            }
        }
        self.buffer.copy_within(whole * FRAME..self.filled, 0);
        self.filled -= whole * FRAME;
        Ok(whole)
    }

    /// Closing here, and not when the caller drops its half, also ends the writer.
    fn fail(&mut self, error: RecvError) -> RecvError {
        self.filled = 0;
        self.carrier.close();
        error
    }
}

impl fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameReceiver(..)")
    }
}

/// Bytes read, 0 at the end of the stream; `None` if the link is lost, closed, or idle for too long since `heard`. What a closed link's
/// peer still sends is not read: its place may be another's.
async fn read(stream: &mut Reading, room: &mut [u8], carrier: &Carrier, heard: Instant) -> Option<usize> {
    let Some(idle) = carrier.idle() else { return stream.read(room).await.ok() };
    tokio::select! {
        biased;
        () = carrier.closed() => None,
        read = timeout_at(heard + idle, stream.read(room)) => read.ok()?.ok(),
    }
}

/// The first frame of the peer; `None` if it is something else than a Hello or does not come.
pub(crate) async fn first_frame(receiver: &mut FrameReceiver) -> Result<Option<Frame>, RecvError> {
    Ok(receiver.recv().await?.filter(|frame| frame.kind() == FrameKind::Hello))
}

/// Makes the queue of a link and starts its writer, which ends the connection: after a clean close, when `stop` turns true,
/// when the peer is gone, or when a write misses its deadline. `held` is dropped then.
pub(crate) fn spawn_writer(
    carrier: Carrier,
    mut stream: Writing,
    mut stop: watch::Receiver<bool>,
    limits: Limits,
    held: impl Send + 'static,
) -> FrameSender {
    let (sender, mut queue) = mpsc::channel(limits.send_queue.max(1));
    let close = Arc::new(Notify::new());
    let asked = Arc::clone(&close);
    tokio::spawn(async move {
        let stop = async {
            tokio::select! {
                () = asked.notified() => {}
                // An error means that the endpoint is dropped.
                _ = stop.wait_for(|&stop| stop) => {}
            }
        };
        let ended = write_frames(&mut queue, &mut stream, &carrier, stop, &limits).await;
        queue.close();
        if ended == Ended::Asked {
            flush(&mut queue, &mut stream, &carrier, &limits).await;
        }
        carrier.close();
        if ended == Ended::Lost && carrier.idle().is_some() {
            // The peer of a byte stream hears of the end here, even while our other half is still held.
            let _ = timeout(limits.flush, stream.shutdown()).await;
        }
        drop(held);
    });
    FrameSender { queue: sender, close }
}

/// Why [`write_frames`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The queue's senders are gone or `stop` fired: what is queued can still be flushed.
    Asked,
    /// The connection is gone or too slow.
    Lost,
}

/// Writes what the queue yields until it is told to stop.
pub(crate) async fn write_frames(
    queue: &mut mpsc::Receiver<Frame>,
    stream: &mut Writing,
    carrier: &Carrier,
    stop: impl Future<Output = ()>,
    limits: &Limits,
) -> Ended {
    let mut stop = pin!(stop);
    let mut gone = pin!(carrier.closed());
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    let mut bytes = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            () = &mut gone => return Ended::Lost,
            () = &mut stop => return Ended::Asked,
            count = queue.recv_many(&mut batch, WRITE_BATCH) => count,
        };
        if count == 0 {
            return Ended::Asked;
        }
        let written = tokio::select! {
            biased;
            () = &mut gone => false,
            written = write_batch(&mut batch, &mut bytes, stream, limits) => written,
        };
        if !written {
            return Ended::Lost;
        }
    }
}

/// Writes what is left in the queue, ends the stream and waits until the peer has read it and closes; [`Limits::flush`]
/// bounds all of it. To close first would throw away what lies unread in the peer's buffers.
pub(crate) async fn flush(queue: &mut mpsc::Receiver<Frame>, stream: &mut Writing, carrier: &Carrier, limits: &Limits) {
    let everything = async {
        let (mut batch, mut bytes) = (Vec::new(), Vec::new());
        while let Ok(frame) = queue.try_recv() {
            batch.push(frame);
            if (batch.len() == WRITE_BATCH || queue.is_empty())
                && !write_batch(&mut batch, &mut bytes, stream, limits).await
            {
                return;
            }
        }
        if stream.shutdown().await.is_ok() {
            carrier.closed().await;
        }
    };
    // A peer that does not take the rest in time loses it: a close must end.
    let _ = timeout(limits.flush, everything).await;
}

async fn write_batch(batch: &mut Vec<Frame>, bytes: &mut Vec<u8>, stream: &mut Writing, limits: &Limits) -> bool {
    bytes.clear();
    for frame in batch.drain(..) {
        bytes.extend_from_slice(frame.as_bytes());
    }
    // A TLS stream keeps what fits no record until it is told.
    let written = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
    timeout(limits.write, written).await == Ok(true)
}
