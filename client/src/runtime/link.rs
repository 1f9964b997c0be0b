//! The task that holds the link to the entry: dials, says hello, reads frames, dials again.

use super::Input;
use crate::core::Session;
use rand::Rng as _;
use std::{net::SocketAddr, time::Duration};
use tokio::sync::{mpsc, oneshot};
use veilpost_link::{Endpoint, FrameSender, Limits, Link};
use veilpost_packet::{
    frame::FrameKind,
    ids::{LinkKey, NodeId},
    sphinx::{Packet, unwrap},
};

/// Frames taken from the link at once.
const BATCH: usize = 64;
/// First and longest wait before dialing again; doubled after each failure, with up to half of it added by chance so that
/// clients of an entry that restarts do not all come at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where to dial, and as whom.
#[derive(Debug)]
pub(super) struct Plan {
    pub entry: NodeId,
    pub address: SocketAddr,
    pub key: LinkKey,
    pub session: Session,
}

/// Runs until the core is gone.
pub(super) async fn run(core: mpsc::Sender<Input>) {
    let mut wait = BACKOFF.0;
    loop {
        let (answer, plan) = oneshot::channel();
        if core.send(Input::NeedPlan(answer)).await.is_err() {
            return;
        }
        let Ok(plan) = plan.await else { return };
        if let Some(plan) = plan
            && let Some((endpoint, link)) = dial(&plan).await
        {
            wait = BACKOFF.0;
            let Link { sender, receiver, .. } = link;
            if core.send(Input::Connected(plan.session.clone(), plan.entry, sender)).await.is_err() {
                return;
            }
            let gone = read(&plan, receiver, &core).await;
            endpoint.close(Duration::from_secs(1)).await;
            if gone || core.send(Input::Disconnected).await.is_err() {
                return;
            }
        } else if core.send(Input::Unreachable).await.is_err() {
            return;
        }
        let jitter = rand::rng().random_range(0.0..0.5);
        tokio::time::sleep(wait.mul_f64(1.0 + jitter)).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// A fresh endpoint has a fresh throwaway key and port: two sessions of one client have nothing in common but its address.
async fn dial(plan: &Plan) -> Option<(Endpoint, Link)> {
    let endpoint = Endpoint::anonymous_dialer(Limits::default())
        .inspect_err(|error| tracing::warn!(%error, "no socket for the link to the entry"))
        .ok()?;
    let dialed = endpoint.dial(plan.address, &plan.key, plan.session.hello.clone()).await;
    match dialed {
        Ok(link) => Some((endpoint, link)),
        Err(error) => {
            tracing::info!(%error, "the entry cannot be reached");
            None
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
