#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::{
    client::{Client, ClientError, escape},
    fake, routes,
    server::{SOCKET_PATH_MAX, SocketPlaces},
    types::*,
};
use crate::{handle, store::files::MAX_FILE};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tokio::task::JoinHandle;

struct World {
    client: Client,
    places: SocketPlaces,
    core: JoinHandle<()>,
    server: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

fn places(home: &Path) -> SocketPlaces {
    SocketPlaces { home: home.into(), runtime_dir: None, temp_dir: std::env::temp_dir() }
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let listening = places.bind().unwrap();
        let (core_handle, end) = handle::channel();
        let (ended_tell, ended) = tokio::sync::oneshot::channel::<()>();
        let core = tokio::spawn(async move {
            fake::run(end).await;
            let _ = ended_tell.send(());
        });
        let server = tokio::spawn(async move {
            let ended = async move {
                let _ = ended.await;
            };
            listening.serve(core_handle, ended).await.unwrap();
        });
        Self { client: Client::new(places.socket()), places, core, server, _dir: dir }
    }

    async fn refusal<T>(&self, result: Result<T, ClientError>) -> RefusalCode {
        match result {
            Err(ClientError::Refused(refusal)) => refusal.code,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("not refused"),
        }
    }
}

#[tokio::test]
async fn every_operation_answers_over_a_real_socket() {
    let world = World::new().await;
    let client = &world.client;
    let status: Status = client.get("/v1/status").await.unwrap();
    assert_eq!((status.connected, status.epoch), (true, Some(7)));
    let invitation: Invitation = client.post("/v1/invitations", &InviteRequest::default()).await.unwrap();
    assert_eq!(invitation.link.len(), 60);
    let accept = AcceptRequest { link: "x".into(), name: Some("Eve / Ève".into()) };
    let contact: Contact = client.post("/v1/contacts", &accept).await.unwrap();
    assert_eq!(contact.name, "Eve / Ève");
    let contacts: Vec<Contact> = client.get("/v1/contacts").await.unwrap();
    assert_eq!(contacts.len(), 5);
    let place = format!("/v1/contacts/{}/safety", escape("Eve / Ève"));
    let safety: Safety = client.get(&place).await.unwrap();
    assert_eq!((safety.contact.as_str(), safety.digits.len()), ("Eve / Ève", 71));
    let contact: Contact = client.post("/v1/contacts/bob/verified", &()).await.unwrap();
    assert!(contact.verified);
    let sent: Sent = client.post("/v1/contacts/Bob/messages", &TextRequest { text: "hi".into() }).await.unwrap();
    let message: Message = client.get(&format!("/v1/messages/{}", sent.id)).await.unwrap();
    assert_eq!((message.text.as_deref(), message.direction), (Some("hi"), Direction::Out));
    let page: Vec<Message> = client.get("/v1/messages?after=1&limit=1").await.unwrap();
    assert_eq!(page.iter().map(|message| message.id).collect::<Vec<_>>(), [2]);
    assert_eq!(client.get_bytes("/v1/messages/2/file").await.unwrap(), fake::PHOTO);
}

#[tokio::test]
async fn a_file_of_the_largest_size_passes_and_a_byte_more_is_refused() {
    let world = World::new().await;
    let size = usize::try_from(MAX_FILE).unwrap();
    let place = "/v1/contacts/Bob/files?name=a.bin";
    let sent: Sent = world.client.post_bytes(place, "image/png", vec![1; size]).await.unwrap();
    let message: Message = world.client.get(&format!("/v1/messages/{}", sent.id)).await.unwrap();
    assert_eq!(message.size, Some(MAX_FILE));
    let result = world.client.post_bytes::<Sent>(place, "image/png", vec![1; size + 1]).await;
    assert_eq!(world.refusal(result).await, RefusalCode::TooLarge);
}

#[tokio::test]
async fn a_text_of_the_largest_size_passes_even_when_escaped() {
    let world = World::new().await;
    let place = "/v1/contacts/Bob/messages";
    let text = "\u{1}".repeat(crate::content::MAX_TEXT);
    assert!(world.client.post::<Sent>(place, &TextRequest { text: text.clone() }).await.is_ok());
    let result = world.client.post::<Sent>(place, &TextRequest { text: text + "x" }).await;
    assert_eq!(world.refusal(result).await, RefusalCode::TooLarge);
}

#[tokio::test]
async fn what_the_api_does_not_know_is_refused_by_name() {
    let world = World::new().await;
    let client = &world.client;
    let result = client.get::<Safety>("/v1/contacts/Nobody/safety").await;
    assert_eq!(world.refusal(result).await, RefusalCode::UnknownContact);
    let result = client.get::<Message>("/v1/messages/99").await;
    assert_eq!(world.refusal(result).await, RefusalCode::UnknownMessage);
    let result = client.get::<Message>("/v1/messages/ninety").await;
    assert_eq!(world.refusal(result).await, RefusalCode::BadRequest);
    let result = client.get::<Vec<Message>>("/v1/messages?since=1").await;
    assert_eq!(world.refusal(result).await, RefusalCode::BadRequest);
    let result = client.post::<Invitation>("/v1/invitations", &serde_json::json!({"nmae": "Bob"})).await;
    assert_eq!(world.refusal(result).await, RefusalCode::BadRequest);
    let result = client.post_bytes::<Sent>("/v1/contacts/Bob/files?name=a", "no media type", vec![]).await;
    assert_eq!(world.refusal(result).await, RefusalCode::BadRequest);
}

#[tokio::test]
async fn events_arrive_in_order_and_end_with_the_daemon() {
    let world = World::new().await;
    let mut events = world.client.events().await.unwrap();
    let sent: Sent = world.client.post("/v1/contacts/Bob/messages", &TextRequest { text: "hi".into() }).await.unwrap();
    for state in [MessageState::Stored, MessageState::Delivered] {
        assert_eq!(events.next().await, Some(Event::MessageChanged { id: sent.id, state }));
    }
    world.client.post_empty("/v1/stop").await.unwrap();
    assert_eq!(events.next().await, None);
    world.core.await.unwrap();
    world.server.await.unwrap();
    assert!(!world.places.socket().exists());
    assert!(matches!(world.client.get::<Status>("/v1/status").await, Err(ClientError::NoDaemon)));
}

#[tokio::test]
async fn more_listeners_than_the_bound_are_told_so() {
    let world = World::new().await;
    let mut listeners = vec![];
    for _ in 0..16 {
        listeners.push(world.client.events().await.unwrap());
    }
    let result = world.client.events().await;
    assert_eq!(world.refusal(result).await, RefusalCode::Busy);
}

#[tokio::test]
async fn only_the_owner_can_open_the_socket_and_a_left_over_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let places = places(dir.path());
    drop(places.bind().unwrap());
    let listening = places.bind().unwrap();
    let mode = std::fs::metadata(listening.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_deep_home_gets_its_socket_elsewhere_in_a_private_folder() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(SOCKET_PATH_MAX));
    std::fs::create_dir(&deep).unwrap();
    let runtime = dir.path().join("run");
    std::fs::create_dir(&runtime).unwrap();
    let mut places = SocketPlaces { home: deep, runtime_dir: Some(runtime.clone()), temp_dir: dir.path().into() };
    let listening = places.bind().unwrap();
    assert!(listening.path().starts_with(&runtime));
    let folder = listening.path().parent().unwrap();
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    places.runtime_dir = None;
    let listening = places.bind().unwrap();
    let folder = listening.path().parent().unwrap().to_path_buf();
    assert_eq!(folder.parent().unwrap(), dir.path());
    drop(listening);
    // Someone else's folder of that name, as far as a test can make one: others may enter it.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(places.bind().unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn the_openapi_file_is_current() {
    let current = routes::description().to_pretty_json().unwrap() + "\n";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == current, "client/openapi.json is old; run the tests once with UPDATE_OPENAPI=1");
}

#[test]
fn escaped_segments_hold_nothing_that_a_path_understands() {
    assert_eq!(escape("Bob-1_x.~"), "Bob-1_x.~");
    assert_eq!(escape("a/b?c#d %ä"), "a%2Fb%3Fc%23d%20%25%C3%A4");
}
