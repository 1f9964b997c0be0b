//! First in is first out. Das, Diaz, Kiayias and Zacharias, "Are continuous stop-and-go mixnets provably secure?", PoPETs 2024(4): two
//! users, one packet each, and the adversary who guesses that packets do not overtake each other; no design with exponential
//! delays brings its advantage to nothing.

use crate::flow::view::{End, Observer, Sight, What};

/// The attack: pairs each two packets that come in with the next two that go out.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    sent: Vec<u32>,
    received: Vec<u32>,
}

impl Pairing {
    /// Sender and receiver, as far as guessed: of each two trips the first ones and the last ones.
    pub fn guesses(&self) -> impl Iterator<Item = (u32, u32)> {
        self.sent.iter().copied().zip(self.received.iter().copied())
    }
}

impl Observer for Pairing {
    fn see(&mut self, sight: &Sight) {
        if let What::Sent { from, to, .. } = sight.what {
            match (from, to) {
                (End::Sender(sender), _) => self.sent.push(sender),
                (_, End::Receiver(receiver)) => self.received.push(receiver),
                _ => {}
            }
        }
    }
}
