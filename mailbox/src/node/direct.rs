//! Commands of clients that come through the onion service, without packets: one command and one answer for each link, both of one
//! size. The answer waits for its time like every other.

use super::{core::Input, links::Shared};
use crate::engine::{Arrived, Back, Request};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use veilpost_link::{Arrival, Link};
use veilpost_packet::{
    command::{Command, Reply},
    frame::{Frame, FrameKind, Hello},
};
use veilpost_pki::admission::DropReason;

/// From the link's opening to the whole command.
const COMMAND: Duration = Duration::from_secs(15);
/// From the command to the answer: what a client waits for.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the client may take to read the answer and close.
const CLOSE: Duration = Duration::from_secs(15);
/// Streams that wait for their answer at most: twice the links that the acceptor bears.
const STREAMS_MAX: usize = 8_192;

/// Takes links that came through the onion service until it ends.
pub(super) async fn accept(mut arrivals: mpsc::Receiver<Arrival>, shared: Arc<Shared>) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let desk = Arc::new(Desk { shared, numbers: AtomicU64::new(0), checks: Arc::new(Semaphore::new(processors)) });
    while let Some(arrival) = arrivals.recv().await {
        tokio::spawn(serve(arrival, Arc::clone(&desk)));
    }
}

/// What all links have in common.
struct Desk {
    shared: Arc<Shared>,
    numbers: AtomicU64,
    /// Commands that are checked at one time, or wait for the core's queue: one for each processor. The others wait with their links.
    checks: Arc<Semaphore>,
}

/// One command, one answer.
async fn serve(arrival: Arrival, desk: Arc<Desk>) {
    let shared = &desk.shared;
    if Hello::decode(arrival.hello.body()).is_err() {
        return arrival.refuse();
    }
    let hello = shared.live.borrow().hello().to_frame();
    let Link { sender, mut receiver, .. } = arrival.admit(hello);
    let Ok(Ok(Some(frame))) = timeout(COMMAND, receiver.recv()).await else { return };
    shared.metrics.commands_in.inc();
    let Ok(Some(plaintext)) = timeout(ANSWER, answer(&desk, frame)).await else { return };
    let Ok(reply) = Reply::to_frame(&plaintext) else { return };
    if sender.try_send(reply).is_ok() {
        shared.metrics.replies.inc();
        // The client closes when it has it. Closed from here, the circuit could end before its last cells are through.
        let _ = timeout(CLOSE, receiver.recv()).await;
    }
}

/// What the core answers to a command; `None` if it is dropped.
async fn answer(desk: &Desk, frame: Frame) -> Option<Vec<u8>> {
    let number = desk.numbers.fetch_add(1, Ordering::Relaxed);
    let check = Arc::clone(&desk.checks).acquire_owned().await.ok()?;
    let (shared, (send, receive)) = (Arc::clone(&desk.shared), oneshot::channel());
    // Signature and puzzle cost a tenth of a millisecond, and the core's queue may be full for a moment.
    let told = tokio::task::spawn_blocking(move || {
        let _check = check;
        let arrived = read(&frame, number, &shared)?;
        // Otherwise the mailbox stops.
        let _ = shared.core.send(Input::Direct(number, Box::new(arrived), send));
        Ok(())
    });
    match told.await.ok()? {
        Ok(()) => receive.await.ok(),
        Err(reason) => {
            desk.shared.metrics.dropped(reason).inc();
            None
        }
    }
}

/// The command of a frame, checked by the document of the epoch that its flags name.
fn read(frame: &Frame, number: u64, shared: &Shared) -> Result<Arrived, DropReason> {
    if frame.kind() != FrameKind::Command {
        return Err(DropReason::Kind);
    }
    let live = Arc::clone(&shared.live.borrow());
    let epoch = live.iter().find(|epoch| frame.flags().is_for(epoch.document.epoch)).ok_or(DropReason::Epoch)?;
    let command = Command::from_body(frame.body()).map_err(|_| DropReason::Malformed)?;
    let document = &epoch.document;
    Ok(Arrived {
        at: shared.clock.now(),
        epoch: document.epoch,
        document: document.hash(),
        back: Back::Stream(number),
        request: Request::check(command, &document.put_admission(), &shared.holder),
    })
}

/// Streams that wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Streams {
    waiting: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Streams {
    /// A stream waits; false if too many do.
    pub(super) fn push(&mut self, number: u64, answer: oneshot::Sender<Vec<u8>>) -> bool {
        if self.waiting.len() >= STREAMS_MAX {
            self.waiting.retain(|_, waiting| !waiting.is_closed());
        }
        let room = self.waiting.len() < STREAMS_MAX;
        if room {
            self.waiting.insert(number, answer);
        }
        room
    }

    /// The answer is there; false if the stream is gone.
    pub(super) fn answer(&mut self, number: u64, plaintext: Vec<u8>) -> bool {
        self.waiting.remove(&number).is_some_and(|waiting| waiting.send(plaintext).is_ok())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_are_gone_make_room_and_others_are_refused_at_the_bound() {
        let (mut streams, mut held) = (Streams::default(), Vec::new());
        for number in 0..STREAMS_MAX as u64 {
            let (send, receive) = oneshot::channel();
            assert!(streams.push(number, send));
            held.push(receive);
        }
        assert!(!streams.push(u64::MAX, oneshot::channel().0), "all of them still wait");
        held.truncate(1);
        assert!(streams.push(u64::MAX, oneshot::channel().0), "the others hung up");
        assert!(streams.answer(0, vec![7]) && !streams.answer(1, vec![7]));
        assert_eq!(held.remove(0).try_recv().unwrap(), [7]);
    }
}
