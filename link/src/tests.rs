//! Links over real sockets on loopback.

use crate::{
    Arrival, DialError, Endpoint, Event, Limits, Link, LinkSecret, Outbound, RecvError, SendError,
    tls::{ALPN, SERVER_NAME, client, provider},
    wire::{ACK_BYTES, FRAME_BYTES},
};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, Hello},
    geometry::{FRAME, FRAME_BODY},
    ids::{DocumentHash, LinkKey},
};

const LONG: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn secret(seed: u8) -> LinkSecret {
    LinkSecret::from_seed([seed; 32])
}

pub(crate) fn hello() -> Frame {
    Hello::node(DocumentHash::default()).to_frame()
}

pub(crate) fn numbered(number: u64) -> Frame {
    let mut body = vec![0xA5; FRAME_BODY];
    body[..8].copy_from_slice(&number.to_be_bytes());
    Frame::new(FrameKind::Packet, Flags::default(), &body).unwrap()
}

fn short_limits() -> Limits {
    Limits { handshake: Duration::from_millis(300), ..Limits::default() }
}

fn server(limits: Limits) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::bind(loopback(), &secret(1), limits).unwrap();
    let address = endpoint.local_addr().unwrap();
    (endpoint, address)
}

async fn pair(limits: Limits) -> (Link, Link, Endpoint, Endpoint) {
    let (acceptor, address) = server(limits);
    let dialer = Endpoint::dialer(&secret(2), limits).unwrap();
    let key = secret(1).public();
    let (dialed, accepted) =
        tokio::join!(dialer.dial(address, &key, hello()), async { acceptor.accept().await.unwrap().admit(hello()) });
    (dialed.unwrap(), accepted, dialer, acceptor)
}

/// A peer that speaks QUIC and TLS as it should and then does what a test wants.
async fn raw_peer(address: SocketAddr, provider: CryptoProvider) -> Result<quinn::Connection, quinn::ConnectionError> {
    let config = client(secret(9).certified().unwrap(), secret(1).public(), provider).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    endpoint.connect_with(config, address, SERVER_NAME).unwrap().await
}

async fn nobody_arrives(acceptor: &Endpoint) {
    assert!(timeout(Duration::from_millis(600), acceptor.accept()).await.is_err(), "an arrival nobody expects");
}

#[tokio::test]
async fn both_ends_prove_their_keys() {
    let (dialed, accepted, _dialer, _acceptor) = pair(Limits::default()).await;
    assert_eq!(dialed.peer, secret(1).public());
    assert_eq!(accepted.peer, secret(2).public());
    assert_eq!(accepted.hello.kind(), FrameKind::Hello);
    assert_eq!(dialed.hello.kind(), FrameKind::Hello);
}

#[tokio::test]
async fn a_client_has_another_key_on_every_connection() {
    let (acceptor, address) = server(Limits::default());
    let client = Endpoint::anonymous_dialer(Limits::default()).unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let key = secret(1).public();
        let (link, arrival) = tokio::join!(client.dial(address, &key, hello()), async {
            let arrival = acceptor.accept().await.unwrap();
            let peer = arrival.peer;
            (peer, arrival.admit(hello()))
        });
        drop(link.unwrap());
        keys.push(arrival.0);
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_server_with_another_key_is_refused() {
    let (acceptor, address) = server(Limits::default());
    let dialer = Endpoint::dialer(&secret(2), Limits::default()).unwrap();
    let refused = dialer.dial(address, &secret(3).public(), hello()).await;
    assert!(matches!(refused, Err(DialError::Handshake(_))), "{refused:?}");
    nobody_arrives(&acceptor).await;
}

#[tokio::test]
async fn a_client_without_post_quantum_key_exchange_is_refused() {
    let (acceptor, address) = server(Limits::default());
    let classical = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..provider() };
    assert!(raw_peer(address, classical).await.is_err());
    nobody_arrives(&acceptor).await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let (_acceptor, address) = server(Limits::default());
    let mut config = client(secret(9).certified().unwrap(), secret(1).public(), provider()).unwrap();
    config.alpn_protocols = vec![[ALPN, b"0"].concat()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    assert!(endpoint.connect_with(config, address, SERVER_NAME).unwrap().await.is_err());
}

#[tokio::test]
async fn a_refused_dialer_does_not_count_its_link_as_up() {
    let (acceptor, address) = server(Limits::default());
    let dialer = Endpoint::dialer(&secret(2), Limits::default()).unwrap();
    let key = secret(1).public();
    let (refused, ()) =
        tokio::join!(dialer.dial(address, &key, hello()), async { acceptor.accept().await.unwrap().refuse() });
    assert_eq!(refused.unwrap_err(), DialError::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_frames_arrive_in_order_and_intact_both_ways() {
    const COUNT: u64 = 3_000;
    let (dialed, accepted, _dialer, _acceptor) = pair(Limits::default()).await;
    let mut tasks = Vec::new();
    for link in [dialed, accepted] {
        let Link { sender, mut receiver, .. } = link;
        let sending = sender.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..COUNT {
                sending.send(numbered(number)).await.unwrap();
            }
        }));
        tasks.push(tokio::spawn(async move {
            let mut frames = Vec::new();
            while (frames.len() as u64) < COUNT {
                assert!(receiver.recv_batch(&mut frames, 100).await.unwrap() > 0);
            }
            for (number, frame) in frames.iter().enumerate() {
                assert!(*frame == numbered(number as u64));
            }
            // The other half of this end must outlive the transfer.
            drop(sender);
        }));
    }
    for task in tasks {
        timeout(LONG * 3, task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_clean_close_delivers_everything_and_ends_the_stream() {
    let (dialed, mut accepted, _dialer, _acceptor) = pair(Limits::default()).await;
    for number in 0..100 {
        dialed.sender.try_send(numbered(number)).unwrap();
    }
    dialed.sender.close();
    let mut frames = Vec::new();
    while timeout(LONG, accepted.receiver.recv_batch(&mut frames, 100)).await.unwrap().unwrap() > 0 {}
    assert_eq!(frames.len(), 100);
    timeout(LONG, dialed.sender.closed()).await.unwrap();
    assert_eq!(dialed.sender.try_send(numbered(0)), Err(SendError::Closed));
}

#[tokio::test]
async fn closing_the_endpoint_flushes_its_links_and_stops_accepting() {
    let (dialed, mut accepted, dialer, acceptor) = pair(Limits::default()).await;
    dialed.sender.try_send(numbered(1)).unwrap();
    // Only a reader lets the flush finish.
    let reader = tokio::spawn(async move { accepted.receiver.recv().await });
    timeout(LONG, dialer.close(LONG)).await.unwrap();
    assert!(reader.await.unwrap().unwrap().unwrap() == numbered(1));
    timeout(LONG, acceptor.close(Duration::from_secs(1))).await.unwrap();
    assert!(timeout(LONG, acceptor.accept()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_queue_at_its_bound_says_full() {
    // The window is one frame and nobody reads, so the queue fills.
    let limits = Limits { send_queue: 4, window: 1, ..Limits::default() };
    let (dialed, _accepted, _dialer, _acceptor) = pair(limits).await;
    let mut taken = 0;
    while dialed.sender.try_send(numbered(taken)).is_ok() {
        taken += 1;
        tokio::task::yield_now().await;
        assert!(taken < 1_000, "the queue has no bound");
    }
    assert_eq!(dialed.sender.try_send(numbered(0)), Err(SendError::Full));
}

#[tokio::test]
async fn a_peer_that_does_not_read_misses_the_write_deadline() {
    let limits = Limits { window: 1, write: Duration::from_millis(200), ..Limits::default() };
    let (dialed, _accepted, _dialer, _acceptor) = pair(limits).await;
    for number in 0..10 {
        let _ = dialed.sender.try_send(numbered(number));
    }
    timeout(LONG, dialed.sender.closed()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_never_says_hello_is_dropped_at_the_deadline() {
    let (acceptor, address) = server(short_limits());
    let silent = raw_peer(address, provider()).await.unwrap();
    timeout(LONG, silent.closed()).await.unwrap();
    nobody_arrives(&acceptor).await;
}

#[tokio::test]
async fn an_acceptor_that_never_answers_misses_the_dialers_deadline() {
    let (acceptor, address) = server(Limits::default());
    let dialer = Endpoint::dialer(&secret(2), short_limits()).unwrap();
    let key = secret(1).public();
    let (arrival, missed): (Option<Arrival>, _) = tokio::join!(acceptor.accept(), dialer.dial(address, &key, hello()));
    assert!(matches!(missed, Err(DialError::Deadline)), "{missed:?}");
    drop(arrival);
}

#[tokio::test]
async fn nobody_at_the_address_misses_the_deadline() {
    // Bound and never read, so that the port stays ours.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let dialer = Endpoint::dialer(&secret(2), short_limits()).unwrap();
    let missed = timeout(LONG, dialer.dial(silent.local_addr().unwrap(), &secret(1).public(), hello())).await.unwrap();
    assert!(matches!(missed, Err(DialError::Deadline)), "{missed:?}");
}

#[tokio::test]
async fn odd_first_bytes_drop_the_peer() {
    let (acceptor, address) = server(Limits::default());
    let not_hello = numbered(1).as_bytes().to_vec();
    let unknown_kind = vec![0xFF; FRAME];
    for bytes in [vec![], vec![3], hello().as_bytes()[..FRAME - 1].to_vec(), not_hello, unknown_kind] {
        let odd = raw_peer(address, provider()).await.unwrap();
        let (mut send, _receive) = odd.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        timeout(LONG, odd.closed()).await.unwrap();
    }
    nobody_arrives(&acceptor).await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_an_error_and_closes_the_link() {
    let (acceptor, address) = server(Limits::default());
    for (tail, expected) in [(vec![1; 100], RecvError::Short), (vec![0xFF; FRAME], RecvError::Malformed)] {
        let odd = raw_peer(address, provider()).await.unwrap();
        let (mut send, _receive) = odd.open_bi().await.unwrap();
        send.write_all(hello().as_bytes()).await.unwrap();
        send.write_all(numbered(7).as_bytes()).await.unwrap();
        send.write_all(&tail).await.unwrap();
        send.finish().unwrap();
        let mut link = timeout(LONG, acceptor.accept()).await.unwrap().unwrap().admit(hello());
        let mut frames = Vec::new();
        let error = loop {
            match timeout(LONG, link.receiver.recv_batch(&mut frames, 8)).await.unwrap() {
                Ok(count) => assert!(count > 0, "the stream did not end cleanly"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, expected);
        assert_eq!(frames.len(), 1);
        timeout(LONG, odd.closed()).await.unwrap();
        timeout(LONG, link.sender.closed()).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_after_the_idle_time() {
    let limits =
        Limits { idle: Duration::from_millis(400), keep_alive: Duration::from_millis(100), ..Limits::default() };
    let (dialed, mut accepted, dialer, _acceptor) = pair(limits).await;
    // Kept alive without frames.
    assert!(timeout(Duration::from_millis(1_200), accepted.receiver.recv()).await.is_err());
    // A dialer that closes without flushing looks like any lost peer.
    dialed.receiver.close();
    drop(dialer);
    assert_eq!(timeout(LONG, accepted.receiver.recv()).await.unwrap().unwrap_err(), RecvError::Lost);
}

#[tokio::test]
async fn more_than_the_allowed_handshakes_are_refused() {
    let limits = Limits { pending_handshakes: 2, ..Limits::default() };
    let (acceptor, address) = server(limits);
    // Two peers that hold their places by saying nothing, for as long as the handshake deadline lasts.
    let _first = raw_peer(address, provider()).await.unwrap();
    let _second = raw_peer(address, provider()).await.unwrap();
    assert!(timeout(LONG, raw_peer(address, provider())).await.unwrap().is_err());
    nobody_arrives(&acceptor).await;
}

#[tokio::test]
async fn more_than_the_allowed_links_are_refused_until_one_ends() {
    let limits = Limits { links: 1, ..Limits::default() };
    let (dialed, accepted, dialer, acceptor) = pair(limits).await;
    let address = acceptor.local_addr().unwrap();
    assert!(dialer.dial(address, &secret(1).public(), hello()).await.is_err());
    drop(dialed);
    let Link { sender, receiver, .. } = accepted;
    drop(receiver);
    timeout(LONG, sender.closed()).await.unwrap();
    let key = secret(1).public();
    let again = async {
        loop {
            // The place is free a moment after the writer's end is visible.
            if let Ok(link) = dialer.dial(address, &key, hello()).await {
                break link;
            }
        }
    };
    let both = async { tokio::join!(again, async { acceptor.accept().await.unwrap().admit(hello()) }) };
    timeout(LONG, both).await.unwrap();
}

#[tokio::test]
async fn an_outbound_link_comes_back_after_the_acceptor_restarts() {
    let (acceptor, address) = server(Limits::default());
    let dialer = Endpoint::dialer(&secret(2), Limits::default()).unwrap();
    let (outbound, mut events) =
        Outbound::start(dialer, address, secret(1).public(), 16, |_| Hello::node(DocumentHash::default()).to_frame());
    let mut link = timeout(LONG, acceptor.accept()).await.unwrap().unwrap().admit(hello());
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Up { connection: 1, .. })));
    assert!(outbound.is_up());
    outbound.try_send(numbered(1)).unwrap();
    assert!(timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap() == numbered(1));
    link.sender.try_send(numbered(2)).unwrap();
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Frame(frame)) if frame == numbered(2)));

    drop(link);
    acceptor.close(Duration::from_secs(1)).await;
    drop(acceptor);
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Down)));
    let restarted = timeout(LONG, async {
        loop {
            // The old socket is closed by a task of its own.
            if let Ok(endpoint) = Endpoint::bind(address, &secret(1), Limits::default()) {
                break endpoint;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    // What is queued while the link is down is sent when it is back.
    outbound.try_send(numbered(3)).unwrap();
    let mut link = timeout(LONG, restarted.accept()).await.unwrap().unwrap().admit(hello());
    assert!(timeout(LONG, link.receiver.recv()).await.unwrap().unwrap().unwrap() == numbered(3));
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Up { connection: 2.., .. })));
    timeout(LONG, outbound.close(LONG)).await.unwrap();
    assert!(matches!(timeout(LONG, link.receiver.recv()).await.unwrap(), Ok(None)));
}

#[tokio::test]
async fn a_killed_acceptor_that_comes_back_is_noticed_long_before_the_idle_time() {
    let limits =
        Limits { idle: LONG * 10, keep_alive: Duration::from_millis(100), write: LONG * 10, ..Limits::default() };
    // A runtime that is thrown away takes its sockets along without a word, as a killed process does.
    let (told, address) = std::sync::mpsc::channel();
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let held = runtime.block_on(async {
            let (acceptor, address) = server(limits);
            told.send(address).unwrap();
            let link = acceptor.accept().await.unwrap().admit(hello());
            let _ = killed.await;
            (link, acceptor)
        });
        // First the runtime, so that nothing is left to run when the rest goes.
        drop(runtime);
        drop(held);
    });
    let address = tokio::task::spawn_blocking(move || address.recv().unwrap()).await.unwrap();
    let dialer = Endpoint::dialer(&secret(2), limits).unwrap();
    let (outbound, mut events) = Outbound::start(dialer, address, secret(1).public(), 16, |_| hello());
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Up { .. })));
    kill.send(()).unwrap();
    tokio::task::spawn_blocking(move || process.join().unwrap()).await.unwrap();
    let restarted = Endpoint::bind(address, &secret(1), limits).unwrap();
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Down)));
    let _link = timeout(LONG, restarted.accept()).await.unwrap().unwrap().admit(hello());
    assert!(matches!(timeout(LONG, events.recv()).await.unwrap(), Some(Event::Up { .. })));
    drop(outbound);
}

#[tokio::test]
async fn an_outbound_link_that_is_down_refuses_the_newest_at_its_bound() {
    let nobody = std::net::UdpSocket::bind(loopback()).unwrap();
    let dialer = Endpoint::dialer(&secret(2), Limits::default()).unwrap();
    let (outbound, _events) = Outbound::start(dialer, nobody.local_addr().unwrap(), LinkKey([1; 32]), 3, |_| hello());
    for number in 0..3 {
        outbound.try_send(numbered(number)).unwrap();
    }
    assert_eq!(outbound.try_send(numbered(3)), Err(SendError::Full));
    assert_eq!((outbound.refused(), outbound.queued(), outbound.is_up()), (1, 3, false));
    timeout(LONG, outbound.close(LONG)).await.unwrap();
}

/// Bytes on the line for each of so many frames that one end sends alone: what it sends, and what comes back.
async fn frame_on_the_line(frames: u64) -> (f64, f64) {
    let (dialed, mut accepted, _dialer, _acceptor) = pair(Limits::default()).await;
    // Path MTU discovery ends within the first frames.
    for number in 0..20 {
        dialed.sender.try_send(numbered(number)).unwrap();
        accepted.receiver.recv().await.unwrap().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = dialed.receiver.traffic();
    for number in 0..frames {
        dialed.sender.try_send(numbered(number)).unwrap();
        accepted.receiver.recv().await.unwrap().unwrap();
        // Longer than acknowledgements are held back.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let after = dialed.receiver.traffic();
    let per_frame = |from: u64, to: u64| (to - from) as f64 / frames as f64;
    (
        per_frame(before.sent_on_line(), after.sent_on_line()),
        per_frame(before.received_on_line(), after.received_on_line()),
    )
}

#[tokio::test]
async fn a_frame_costs_on_the_line_what_is_said() {
    let (sent, back) = frame_on_the_line(100).await;
    assert!((sent / FRAME_BYTES - 1.0).abs() < 0.02, "a frame takes {sent} bytes");
    assert!((back - ACK_BYTES).abs() < 0.02 * FRAME_BYTES, "its acknowledgements take {back} bytes");
}
