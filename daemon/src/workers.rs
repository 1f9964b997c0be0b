//! The workers that unwrap: plain threads, fed with what one read of a link yielded, through one bounded queue.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use veilpost_packet::sphinx::{Packet, Reject, SphinxSecret, Unwrapped, unwrap};

/// Batches that wait for a worker; a batch is at most 8 packets, so this is at most 9 MB.
const QUEUE: usize = 256;

struct Job<O> {
    origin: O,
    secret: Arc<SphinxSecret>,
    packets: Vec<Packet>,
}

/// Hands packets to the workers. The threads end when the last clone is dropped. `O`: what comes back with the packets.
pub struct Workers<O> {
    jobs: SyncSender<Job<O>>,
}

impl<O> Clone for Workers<O> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<O> std::fmt::Debug for Workers<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Workers(..)")
    }
}

impl<O: Send + 'static> Workers<O> {
    /// Starts a thread per processor. `done` runs on them and returns false when nobody takes results any more.
    ///
    /// # Errors
    /// If the operating system starts no thread.
    pub fn start(
        done: impl Fn(O, Vec<Result<Unwrapped, Reject>>) -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        Self::start_observed(|_| {}, done)
    }

    /// As [`Workers::start`]; `observe` gets the time that each packet took.
    ///
    /// # Errors
    /// If the operating system starts no thread.
    pub fn start_observed(
        observe: impl Fn(Duration) + Send + Sync + 'static,
        done: impl Fn(O, Vec<Result<Unwrapped, Reject>>) -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let shared = Arc::new((Mutex::new(queue), observe, done));
        for number in 0..thread::available_parallelism().map_or(1, usize::from) {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("unwrap-{number}"))
                .spawn(move || work(&shared.0, &shared.1, &shared.2))?;
        }
        Ok(Self { jobs })
    }

    /// Queues packets of one link and epoch, to be unwrapped with `secret`.
    ///
    /// # Errors
    /// How many packets were dropped because the queue is full.
    pub fn submit(&self, origin: O, secret: &Arc<SphinxSecret>, packets: Vec<Packet>) -> Result<(), usize> {
        if packets.is_empty() {
            return Ok(());
        }
        self.jobs.try_send(Job { origin, secret: Arc::clone(secret), packets }).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job.packets.len(),
        })
    }
}

fn work<O>(
    queue: &Mutex<Receiver<Job<O>>>,
    observe: &impl Fn(Duration),
    done: &impl Fn(O, Vec<Result<Unwrapped, Reject>>) -> bool,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { origin, secret, packets }) = job else { return };
        let unwrapped = packets.iter().map(|packet| {
            let started = Instant::now();
            let result = unwrap(&secret, packet);
            observe(started.elapsed());
            result
        });
        if !done(origin, unwrapped.collect()) {
            return;
        }
    }
}
