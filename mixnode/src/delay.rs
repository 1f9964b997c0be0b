//! Packets that wait for their moment.

use std::collections::BTreeMap;
use veilpost_packet::time::Timestamp;

/// A bounded queue ordered by due time; among equals, by arrival. Senders choose the delays, so what they can fill is
/// bounded twice: by the longest delay (see [`crate::admission::delay`]) and here.
#[derive(Debug)]
pub struct DelayQueue<T> {
    waiting: BTreeMap<(Timestamp, u64), T>,
    bound: usize,
    arrivals: u64,
}

impl<T> DelayQueue<T> {
    /// For at most `bound` packets.
    pub fn new(bound: usize) -> Self {
        Self { waiting: BTreeMap::new(), bound, arrivals: 0 }
    }

    /// True if there is no room for another packet.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.bound
    }

    /// Another bound for what is pushed from now on; what waits stays.
    pub fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    /// Queues a packet until `due`; gives it back if the queue is full.
    ///
    /// # Errors
    /// The packet.
    pub fn push(&mut self, due: Timestamp, packet: T) -> Result<(), T> {
        if self.is_full() {
            return Err(packet);
        }
        self.arrivals += 1;
        self.waiting.insert((due, self.arrivals), packet);
        Ok(())
    }

    /// The next packet that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next packet is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn packets_leave_in_order_of_their_due_time_and_not_before() {
        let mut queue = DelayQueue::new(10);
        for (due, name) in [(3, "c"), (1, "a"), (2, "b"), (1, "a2")] {
            queue.push(at(due), name).unwrap();
        }
        assert_eq!(queue.next_due(), Some(at(1)));
        assert_eq!(queue.pop_due(at(0)), None);
        assert_eq!(queue.pop_due(at(2)), Some("a"));
        assert_eq!(queue.pop_due(at(2)), Some("a2"));
        assert_eq!(queue.pop_due(at(2)), Some("b"));
        assert_eq!(queue.pop_due(at(2)), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn at_the_bound_a_packet_is_given_back() {
        let mut queue = DelayQueue::new(2);
        queue.push(at(1), 1).unwrap();
        queue.push(at(1), 2).unwrap();
        assert!(queue.is_full());
        assert_eq!(queue.push(at(1), 3), Err(3));
        queue.pop_due(at(1)).unwrap();
        queue.push(at(1), 3).unwrap();
        queue.set_bound(1);
        assert_eq!((queue.push(at(1), 4), queue.len()), (Err(4), 2));
    }
}
