//! Links over epochs. A node dials every next node of every live epoch, once, whatever epochs list it; a link that it accepted
//! is read until no live epoch gives its peer business here.

use crate::epochs::LiveEpochs;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
};
use veilpost_link::{Endpoint, Event, FrameReceiver, Outbound};
use veilpost_packet::{
    frame::{Frame, Want},
    ids::{LinkKey, NodeId},
    sphinx::Packet,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Relay,
    admission::{DropReason, Gate, Passed},
};

/// Links that one node may hold here at one time: one in use, and one that is dialed anew before the old is known dead.
const LINKS_PER_NODE: usize = 2;

/// Links to a set of nodes that changes with the documents. Bounded by what documents list.
#[derive(Debug)]
pub struct Dialed {
    endpoint: Endpoint,
    queue: usize,
    live: watch::Receiver<Arc<LiveEpochs>>,
    runtime: Handle,
    links: BTreeMap<NodeId, Dial>,
}

#[derive(Debug)]
struct Dial {
    key: LinkKey,
    address: SocketAddr,
    link: Outbound,
}

impl Dialed {
    /// No links yet. `queue` bounds the frames that wait for each. Each dial introduces itself by the newest document of that
    /// moment. Must be called inside a tokio runtime.
    pub fn new(endpoint: Endpoint, queue: usize, live: watch::Receiver<Arc<LiveEpochs>>) -> Self {
        Self { endpoint, queue, live, runtime: Handle::current(), links: BTreeMap::new() }
    }

    /// Dials those that are new or have another key or address, keeps the others, and closes links to who is not wanted any
    /// more, once what waits for them is sent. Returns the events of the new ones; a relay without an address is left out. May be called from any thread.
    pub fn follow(&mut self, wanted: &BTreeMap<NodeId, &Relay>) -> Vec<(NodeId, mpsc::Receiver<Event>)> {
        let _inside = self.runtime.enter();
        let address = |relay: &Relay| relay.addresses.first().copied();
        self.links.retain(|id, dial| {
            wanted.get(id).is_some_and(|relay| relay.link_key == dial.key && address(relay) == Some(dial.address))
        });
        let mut new = Vec::new();
        for (id, relay) in wanted {
            let (false, Some(address)) = (self.links.contains_key(id), address(relay)) else { continue };
            let (endpoint, live) = (self.endpoint.clone(), self.live.clone());
            let hello = move |_| live.borrow().hello().to_frame();
            let (link, events) = Outbound::start(endpoint, address, relay.link_key, self.queue, hello);
            self.links.insert(*id, Dial { key: relay.link_key, address, link });
            new.push((*id, events));
        }
        new
    }

    /// The link to a node.
    pub fn get(&self, id: &NodeId) -> Option<&Outbound> {
        self.links.get(id).map(|dial| &dial.link)
    }

    /// Frames that wait, in all.
    pub fn queued(&self) -> usize {
        self.links.values().map(|dial| dial.link.queued()).sum()
    }

    /// Links that are down.
    pub fn down(&self) -> usize {
        self.links.values().filter(|dial| !dial.link.is_up()).count()
    }

    /// Links, up or not.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Sends what waits and closes all links, within `deadline`.
    pub async fn close(self, deadline: Duration) {
        let mut closing: JoinSet<()> = self.links.into_values().map(|dial| dial.link.close(deadline)).collect();
        while closing.join_next().await.is_some() {}
    }
}

/// What a link's reader does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The batch has frames.
    Frames,
    /// The live epochs have changed; the batch is empty.
    Epochs,
    /// The link is over, or the node stops.
    End,
}

/// An accepted link as the task that reads it sees it.
#[derive(Debug)]
pub struct Reading {
    receiver: FrameReceiver,
    batch: Vec<Frame>,
    live: watch::Receiver<Arc<LiveEpochs>>,
    stopping: watch::Receiver<bool>,
}

impl Reading {
    /// Reads a link until it ends or `stopping` turns true.
    pub fn new(
        receiver: FrameReceiver,
        live: &watch::Receiver<Arc<LiveEpochs>>,
        stopping: &watch::Receiver<bool>,
    ) -> Self {
        Self { receiver, batch: Vec::new(), live: live.clone(), stopping: stopping.clone() }
    }

    /// Waits for frames or a change.
    pub async fn next(&mut self) -> Next {
        self.batch.clear();
        tokio::select! {
            received = self.receiver.recv_batch(&mut self.batch, usize::MAX) => match received {
                Ok(1..) => Next::Frames,
                _ => Next::End,
            },
            Ok(()) = self.live.changed() => Next::Epochs,
            _ = self.stopping.wait_for(|&stop| stop) => Next::End,
        }
    }

    /// The frames of the last [`Next::Frames`], 8 at most.
    pub fn batch(&self) -> &[Frame] {
        &self.batch
    }
}

/// Packets of a batch by the epoch that their flags name: two at most, save for a peer's mischief.
pub type ByEpoch = Vec<(Epoch, Vec<Packet>)>;

/// The packets of a batch that pass the gate; `other` gets the rest, in order.
pub fn by_epoch(
    gate: &mut Gate,
    now: Timestamp,
    live: &LiveEpochs,
    batch: &[Frame],
    mut other: impl FnMut(Result<Want, DropReason>),
) -> ByEpoch {
    let mut packets = ByEpoch::new();
    for frame in batch {
        match gate.pass(now, frame, live.numbers()) {
            Ok(Passed::Packet(epoch, packet)) => match packets.iter_mut().find(|(of, _)| *of == epoch) {
                Some((_, same)) => same.push(packet),
                None => packets.push((epoch, vec![packet])),
            },
            Ok(Passed::Want(want)) => other(Ok(want)),
            Err(reason) => other(Err(reason)),
        }
    }
    packets
}

/// Counts the links that other nodes hold here.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    links: Arc<Mutex<HashMap<NodeId, usize>>>,
}

/// One node's place among the links, until dropped.
#[derive(Debug)]
pub struct Held {
    accepted: Accepted,
    id: NodeId,
}

impl Accepted {
    /// A place for another link of a node; `None` if it has two.
    pub fn take(&self, id: NodeId) -> Option<Held> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let count = links.entry(id).or_default();
        if *count >= LINKS_PER_NODE {
            return None;
        }
        *count += 1;
        drop(links);
        Some(Held { accepted: self.clone(), id })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut links = self.accepted.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = links.get_mut(&self.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                links.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_two_links_at_most_and_leaves_nothing_behind() {
        let (accepted, id) = (Accepted::default(), NodeId([1; 32]));
        let (first, second) = (accepted.take(id).unwrap(), accepted.take(id).unwrap());
        assert!(accepted.take(id).is_none() && accepted.take(NodeId([2; 32])).is_some());
        drop(first);
        drop((accepted.take(id).unwrap(), second));
        assert!(accepted.links.lock().unwrap().is_empty());
    }
}
