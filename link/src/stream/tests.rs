//! Links over pipes in memory: what they carry is a stream's business alone.

use super::*;
use crate::{
    RecvError, SendError,
    tests::{hello, numbered, secret},
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use veilpost_packet::{frame::FrameKind, geometry::FRAME};

/// Bytes in flight: less than a few frames, as over a slow circuit.
const PIPE: usize = 10_000;

fn quick() -> Limits {
    let short = Duration::from_millis(300);
    Limits { handshake: short, idle: short, flush: short, ..Limits::default() }
}

struct Ends {
    dialer: StreamDialer,
    acceptor: StreamAcceptor,
}

impl Ends {
    fn new(limits: Limits) -> Self {
        Self { dialer: StreamDialer::new(limits), acceptor: StreamAcceptor::new(&secret(1), limits).unwrap() }
    }

    async fn link(&self) -> (Link, Link) {
        let (near, far) = duplex(PIPE);
        let key = secret(1).public();
        let accepted = async { self.acceptor.accept(far).await.unwrap().admit(hello()) };
        let (dialed, accepted) = tokio::join!(self.dialer.dial(near, &key, hello()), accepted);
        (dialed.unwrap(), accepted)
    }
}

/// A peer that speaks TLS as it should and then does what a test wants.
async fn raw_peer(
    stream: DuplexStream,
    provider: CryptoProvider,
) -> std::io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
    let config = tls::client(secret(9).certified().unwrap(), secret(1).public(), provider).unwrap();
    let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn the_acceptor_proves_its_key_and_the_dialer_has_another_one_on_every_link() {
    let ends = Ends::new(Limits::default());
    let (first, second) = (ends.link().await, ends.link().await);
    assert_eq!(first.0.peer, secret(1).public());
    assert_ne!(first.1.peer, second.1.peer);
    assert_eq!((first.0.hello.kind(), first.1.hello.kind()), (FrameKind::Hello, FrameKind::Hello));
}

#[tokio::test]
async fn a_peer_with_another_key_is_refused() {
    let ends = Ends::new(Limits::default());
    let (near, far) = duplex(PIPE);
    let other = secret(3).public();
    let (refused, accepted) = tokio::join!(ends.dialer.dial(near, &other, hello()), ends.acceptor.accept(far));
    assert!(matches!(refused, Err(DialError::Handshake(_))), "{refused:?}");
    assert!(accepted.is_none());
}

#[tokio::test]
async fn a_stream_that_ends_during_the_handshake_is_not_taken_for_a_wrong_key() {
    let ends = Ends::new(Limits::default());
    let (near, far) = duplex(PIPE);
    drop(far);
    let lost = ends.dialer.dial(near, &secret(1).public(), hello()).await;
    assert!(matches!(lost, Err(DialError::Lost)), "{lost:?}");
}

#[tokio::test]
async fn a_dialer_without_post_quantum_key_exchange_is_refused() {
    let ends = Ends::new(Limits::default());
    let (near, far) = duplex(PIPE);
    let classical = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..tls::provider() };
    let (refused, accepted) = tokio::join!(raw_peer(near, classical), ends.acceptor.accept(far));
    assert!(refused.is_err() && accepted.is_none());
}

#[tokio::test]
async fn a_dialer_that_names_no_protocol_is_refused() {
    let ends = Ends::new(quick());
    let (near, far) = duplex(PIPE);
    let mut config = tls::client(secret(9).certified().unwrap(), secret(1).public(), tls::provider()).unwrap();
    config.alpn_protocols = Vec::new();
    let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
    let peer = async {
        let mut peer = TlsConnector::from(Arc::new(config)).connect(name, near).await.ok()?;
        peer.write_all(hello().as_bytes()).await.ok()?;
        peer.flush().await.ok()
    };
    let (_, accepted) = tokio::join!(peer, ends.acceptor.accept(far));
    assert!(accepted.is_none());
}

#[tokio::test]
async fn what_comes_after_a_close_is_not_read_and_silence_is_noticed_however_often_a_read_is_given_up() {
    let ends = Ends::new(Limits::default());
    let (dialed, mut accepted) = ends.link().await;
    (0..4).for_each(|number| dialed.sender.try_send(numbered(number)).unwrap());
    accepted.receiver.close();
    assert_eq!(accepted.receiver.recv().await, Err(RecvError::Lost));

    let ends = Ends::new(quick());
    let (_dialed, mut accepted) = ends.link().await;
    let given_up = || Duration::from_millis(50);
    let mut noticed = None;
    for _ in 0..20 {
        noticed = timeout(given_up(), accepted.receiver.recv()).await.ok();
        if noticed.is_some() {
            break;
        }
    }
    assert_eq!(noticed, Some(Err(RecvError::Lost)));
}

#[tokio::test]
async fn a_refused_dialer_does_not_count_its_link_as_up() {
    let ends = Ends::new(Limits::default());
    let (near, far) = duplex(PIPE);
    let key = secret(1).public();
    let refuse = async { ends.acceptor.accept(far).await.unwrap().refuse() };
    let (refused, ()) = tokio::join!(ends.dialer.dial(near, &key, hello()), refuse);
    assert_eq!(refused.unwrap_err(), DialError::Refused);
}

#[tokio::test]
async fn hundreds_of_frames_arrive_in_order_and_intact_both_ways_and_a_clean_close_delivers_everything() {
    const COUNT: u64 = 300;
    let ends = Ends::new(Limits::default());
    let (dialed, accepted) = ends.link().await;
    let all = |link: Link| async move {
        let Link { sender, mut receiver, .. } = link;
        let send = async {
            for number in 0..COUNT {
                sender.send(numbered(number)).await.unwrap();
            }
        };
        let read = async {
            for number in 0..COUNT {
                assert!(receiver.recv().await.unwrap() == Some(numbered(number)), "{number}");
            }
        };
        tokio::join!(send, read);
        (sender, receiver)
    };
    let (here, mut there) = tokio::join!(all(dialed), all(accepted));
    (0..10).for_each(|number| here.0.try_send(numbered(number)).unwrap());
    drop(here.0);
    for number in 0..10 {
        assert!(there.1.recv().await.unwrap() == Some(numbered(number)), "{number}");
    }
    assert_eq!(there.1.recv().await, Ok(None));
    there.0.closed().await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dropped_at_the_deadline() {
    let ends = Ends::new(quick());
    let (_near, far) = duplex(PIPE);
    assert!(ends.acceptor.accept(far).await.is_none(), "no TLS");
    let (near, far) = duplex(PIPE);
    let (peer, accepted) = tokio::join!(raw_peer(near, tls::provider()), ends.acceptor.accept(far));
    assert!(peer.is_ok() && accepted.is_none(), "TLS and no Hello");
    let (near, _far) = duplex(PIPE);
    let late = ends.dialer.dial(near, &secret(1).public(), hello()).await;
    assert_eq!(late.unwrap_err(), DialError::Deadline);
}

#[tokio::test]
async fn odd_first_bytes_drop_the_peer() {
    for bytes in [vec![0xFF; FRAME], numbered(1).as_bytes().to_vec()] {
        let ends = Ends::new(quick());
        let (near, far) = duplex(PIPE);
        let peer = async {
            let mut peer = raw_peer(near, tls::provider()).await.unwrap();
            // The acceptor may be gone before it has all.
            let _ = peer.write_all(&bytes).await;
            let _ = peer.flush().await;
            peer.read(&mut [0; 1]).await
        };
        let (_, accepted) = tokio::join!(peer, ends.acceptor.accept(far));
        assert!(accepted.is_none());
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_an_error_and_closes_the_link() {
    let ends = Ends::new(quick());
    let (near, far) = duplex(PIPE);
    let peer = async {
        let mut peer = raw_peer(near, tls::provider()).await.unwrap();
        peer.write_all(hello().as_bytes()).await.unwrap();
        peer.write_all(&numbered(1).as_bytes()[..100]).await.unwrap();
        peer.shutdown().await.unwrap();
        peer
    };
    let accepted = async { ends.acceptor.accept(far).await.unwrap().admit(hello()) };
    let (_peer, mut link) = tokio::join!(peer, accepted);
    assert_eq!(link.receiver.recv().await, Err(RecvError::Short));
    link.sender.closed().await;
    assert_eq!(link.sender.try_send(hello()), Err(SendError::Closed));
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_after_the_idle_time_and_one_that_breaks_off_at_once() {
    let ends = Ends::new(quick());
    let (dialed, mut accepted) = ends.link().await;
    assert_eq!(accepted.receiver.recv().await, Err(RecvError::Lost), "silent");
    accepted.sender.closed().await;
    drop(dialed);

    let patient = Ends::new(Limits::default());
    let (dialed, mut accepted) = patient.link().await;
    dialed.receiver.close();
    let heard = timeout(Limits::default().idle / 3, accepted.receiver.recv()).await;
    assert_eq!(heard.expect("long before the idle time").ok().flatten(), None);
    accepted.sender.closed().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_misses_the_write_deadline() {
    let ends = Ends::new(Limits { write: Duration::from_millis(200), ..Limits::default() });
    let (dialed, accepted) = ends.link().await;
    for number in 0..20 {
        accepted.sender.try_send(numbered(number)).unwrap();
    }
    accepted.sender.closed().await;
    drop(dialed);
}

#[tokio::test]
async fn more_than_the_allowed_links_are_refused_until_one_ends() {
    let ends = Ends::new(Limits { links: 1, ..quick() });
    let (dialed, accepted) = ends.link().await;
    let (_near, far) = duplex(PIPE);
    assert!(ends.acceptor.accept(far).await.is_none());
    let closed = accepted.sender.clone();
    drop((dialed, accepted));
    closed.close();
    closed.closed().await;
    // The place is given back with the writer's end, a moment later.
    for _ in 0..100 {
        if ends.acceptor.places.available_permits() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ends.link().await;
}

#[tokio::test]
async fn links_end_with_the_acceptor() {
    let Ends { dialer, acceptor } = Ends::new(Limits::default());
    let (dialed, accepted) = Ends { dialer, acceptor }.link().await;
    // Both ends were dropped with the value above.
    dialed.sender.closed().await;
    accepted.sender.closed().await;
}
