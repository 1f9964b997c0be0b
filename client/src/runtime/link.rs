//! The task that holds the link to the entry: dials, says hello, reads frames, dials again.

use super::{Input, tor::Onions};
use crate::{core::Session, transport::Transport};
use rand::Rng as _;
use std::{net::SocketAddr, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};
use veilpost_link::{Endpoint, FrameSender, Limits, Link, StreamDialer};
use veilpost_packet::{
    frame::{FrameKind, Hello},
    geometry::PUZZLE,
    ids::{LinkKey, NodeId},
    puzzle::SessionAsk,
    sphinx::{Packet, unwrap},
};

/// Frames taken from the link at once.
const BATCH: usize = 64;
/// First and longest wait before dialing again; doubled after each failure, with up to half of it added by chance so that
/// clients of an entry that restarts do not all come at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Puzzles that are solved for one session: the entry may fill while one is.
const PUZZLES: usize = 3;

/// TLS and the entry's hello over Tor: a circuit may be slow.
const HANDSHAKE_OVER_TOR: Duration = Duration::from_secs(30);

/// Where to dial, and as whom.
#[derive(Debug)]
pub(super) struct Plan {
    pub entry: NodeId,
    pub to: Address,
    pub key: LinkKey,
    pub session: Session,
}

/// Where an entry is reached. Which of both is the transport's choice, and there is no way from one to the other.
#[derive(Debug)]
pub(super) enum Address {
    Direct(SocketAddr),
    Onion(String, Onions),
}

/// What keeps a link alive beside its halves.
enum Socket {
    Quic(Endpoint),
    Stream { _dialer: StreamDialer },
}

impl Socket {
    async fn close(self) {
        if let Self::Quic(endpoint) = self {
            endpoint.close(Duration::from_secs(1)).await;
        }
    }
}

/// Runs until the core is gone. A change of transport ends a dial, and the wait for the next one, at once.
pub(super) async fn run(core: mpsc::Sender<Input>, mut transport: watch::Receiver<Transport>) {
    let mut wait = BACKOFF.0;
    loop {
        let by = *transport.borrow_and_update();
        let (answer, plan) = oneshot::channel();
        if core.send(Input::NeedPlan(answer)).await.is_err() {
            return;
        }
        let Ok(plan) = plan.await else { return };
        let dialed = match plan {
            Some(mut plan) => tokio::select! {
                // Nothing is dialed by a way that is not chosen any more.
                biased;
                changed = transport.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                dialed = dial(&mut plan) => dialed.map(|(socket, link)| (plan, socket, link)),
            },
            None => Err("none of this client's entries has an onion service".into()),
        };
        if let Ok((plan, socket, link)) = dialed {
            wait = BACKOFF.0;
            let Link { sender, receiver, .. } = link;
            if core.send(Input::Connected(plan.session.clone(), plan.entry, sender)).await.is_err() {
                return;
            }
            let gone = read(&plan, receiver, &core).await;
            socket.close().await;
            if gone || core.send(Input::Disconnected).await.is_err() {
                return;
            }
        } else if let Err(why) = dialed
            && core.send(Input::Unreachable(by, why)).await.is_err()
        {
            return;
        }
        let jitter = rand::rng().random_range(0.0..0.5);
        let over = tokio::time::timeout(wait.mul_f64(1.0 + jitter), transport.changed()).await;
        wait = if over.is_err() { (wait * 2).min(BACKOFF.1) } else { BACKOFF.0 };
    }
}

/// Dials, and once more with the solution each time that the entry asks for a puzzle.
async fn dial(plan: &mut Plan) -> Result<(Socket, Link), String> {
    for _ in 0..=PUZZLES {
        let (socket, link) = dial_once(plan).await.inspect_err(|why| tracing::debug!(%why, "no link to the entry"))?;
        let asked = Hello::decode(link.hello.body()).ok().and_then(|hello| SessionAsk::from_room(&hello.puzzle));
        let Some(asked) = asked else { return Ok((socket, link)) };
        drop(link);
        socket.close().await;
        plan.session.hello.puzzle =
            solve(plan, asked).await.ok_or("the entry asks for more work than a session is worth")?;
    }
    Err("the entry asks for one puzzle after the other".into())
}

/// Solves on a thread that may block.
async fn solve(plan: &Plan, asked: SessionAsk) -> Option<[u8; PUZZLE]> {
    let Some(puzzle) = plan.session.puzzle(&plan.entry, asked) else {
        tracing::info!("the entry asks for more work than a session is worth");
        return None;
    };
    tracing::info!(effort = puzzle.effort.0, "many want a session at the entry: working for ours");
    tokio::task::spawn_blocking(move || puzzle.solve()).await.ok().flatten()
}

/// A fresh endpoint has a fresh throwaway key and port: two sessions of one client have nothing in common but its address. Over Tor they
/// do not have that either: each has a circuit of its own.
async fn dial_once(plan: &Plan) -> Result<(Socket, Link), String> {
    let hello = plan.session.hello.to_frame();
    match &plan.to {
        Address::Direct(address) => {
            let endpoint =
                Endpoint::anonymous_dialer(Limits::default()).map_err(|error| format!("no socket: {error}"))?;
            let link = endpoint.dial(*address, &plan.key, hello).await.map_err(|error| error.to_string())?;
            Ok((Socket::Quic(endpoint), link))
        }
        Address::Onion(onion, onions) => {
            let stream = onions.connect(onion).await.map_err(|error| error.to_string())?;
            let dialer = StreamDialer::new(Limits { handshake: HANDSHAKE_OVER_TOR, ..Limits::default() });
            let link = dialer.dial(stream, &plan.key, hello).await;
            let link = link.map_err(|error| super::tor::no_link("the entry", &error))?;
            Ok((Socket::Stream { _dialer: dialer }, link))
        }
    }
}

/// True if the core is gone, false if the link is.
async fn read(plan: &Plan, mut receiver: veilpost_link::FrameReceiver, core: &mpsc::Sender<Input>) -> bool {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        match receiver.recv_batch(&mut batch, BATCH).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
        for frame in batch.drain(..) {
            let input = if frame.kind() == FrameKind::Packet {
                let packet = Packet::from_bytes(frame.body()).expect("a frame's body has a packet's size");
                match unwrap(&plan.session.secret, &packet) {
                    Ok(unwrapped) => Input::Delivered(unwrapped),
                    Err(_) => continue,
                }
            } else {
                Input::Frame(frame)
            };
            if core.send(input).await.is_err() {
                return true;
            }
        }
    }
}

/// The half that sends; dropped with the connection.
pub(super) type Sender = FrameSender;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use std::sync::Arc;
    use veilpost_link::LinkSecret;
    use veilpost_packet::{
        ids::{DocumentHash, NetworkId, SessionAddress},
        puzzle::Effort,
        sphinx::SphinxSecret,
    };

    const NETWORK: NetworkId = NetworkId([1; 32]);
    const ENTRY: NodeId = NodeId([4; 32]);

    fn secret() -> LinkSecret {
        LinkSecret::from_seed([1; 32])
    }

    fn plan(address: SocketAddr) -> Plan {
        let hello = Hello::client(SessionAddress([7; 32]), DocumentHash::default());
        let unwrapping = Arc::new(SphinxSecret::from_seed([2; 32]));
        let session = Session { hello, secret: unwrapping, network: NETWORK, number: 1 };
        Plan { entry: ENTRY, to: Address::Direct(address), key: secret().public(), session }
    }

    /// An entry that asks `asks` in turn of who comes without the solution of what it asked before; how many came.
    async fn entry(endpoint: Endpoint, asks: Vec<Effort>) -> usize {
        let (mut came, mut before) = (0, None::<SessionAsk>);
        let mut links = Vec::new();
        while let Some(arrival) = endpoint.accept().await {
            let hello = Hello::decode(arrival.hello.body()).unwrap();
            if let Some(before) = before {
                let puzzle = before.puzzle(&NETWORK, &ENTRY, &hello.session.unwrap());
                assert!(puzzle.verify(&hello.puzzle), "it comes back with the solution");
            }
            before = asks.get(came).map(|&effort| SessionAsk { seed: [came as u8; SessionAsk::SEED], effort });
            let room = before.map_or([0; PUZZLE], SessionAsk::to_room);
            let link = arrival.admit(Hello { puzzle: room, ..Hello::node(DocumentHash::default()) }.to_frame());
            links.push(link);
            came += 1;
        }
        came
    }

    /// Whether a client gets a session where so much is asked, and how often it came.
    async fn come(asks: Vec<Effort>) -> (bool, usize) {
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &secret(), Limits::default()).unwrap();
        let mut plan = plan(endpoint.local_addr().unwrap());
        let serving = tokio::spawn(entry(endpoint.clone(), asks));
        let got = dial(&mut plan).await;
        endpoint.close(Duration::from_millis(200)).await;
        (got.is_ok(), serving.await.unwrap())
    }

    #[tokio::test]
    async fn a_client_works_for_its_session_when_the_entry_asks_and_only_so_much() {
        assert_eq!(come(vec![]).await, (true, 1));
        assert_eq!(come(vec![Effort(1), Effort(2)]).await, (true, 3));
        assert_eq!(come(vec![Effort(1); PUZZLES + 1]).await, (false, PUZZLES + 1), "an entry that asks for ever");
        assert_eq!(come(vec![Effort(17)]).await, (false, 1), "more than a session is worth");
    }
}
