use super::{
    contacts::ContactState,
    files::FileShape,
    messages::{Direction, Kind, NewMessage, State, Uuid},
    *,
};
use std::{io::Write as _, path::PathBuf};
use veilpost_packet::{random, time::Timestamp};

fn rng() -> EngineRng {
    random::seeded([7; 32])
}

fn secret(text: &str) -> KeySource {
    KeySource::Passphrase(Passphrase::new(text.into()).unwrap())
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    (dir, home)
}

fn contact(connection: &Connection) -> contacts::ContactId {
    contacts::create(connection, "Bob", ContactState::Invited, Timestamp::from_secs(1)).unwrap()
}

fn text(contact: contacts::ContactId, uuid: u8, direction: Direction, state: State) -> NewMessage {
    NewMessage {
        uuid: Uuid([uuid; 16]),
        contact,
        direction,
        state,
        kind: Kind::Text,
        media_type: "text/plain".into(),
        text: Some("hello".into()),
        name: None,
        size: None,
        body: None,
        file: None,
        at: Timestamp::from_millis(1_234),
    }
}

#[test]
fn what_was_written_is_there_after_reopening_and_nowhere_in_clear() {
    let (_dir, home) = home();
    let mut store = Store::create(&home, &secret("correct horse"), &mut rng()).unwrap();
    store.transaction(|tx| meta::set(tx, "a", b"a very recognisable value")).unwrap();
    drop(store);
    let store = Store::open(&home, &secret("correct horse\n")).unwrap();
    assert_eq!(meta::get(store.connection(), "a").unwrap().unwrap(), b"a very recognisable value");
    for file in fs::read_dir(&home).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(17).any(|window| window == b"very recognisable"));
        assert!(!bytes.starts_with(b"SQLite format"));
    }
}

#[test]
fn the_folder_and_its_files_are_for_their_owner_alone() {
    let (_dir, home) = home();
    let store = Store::create(&home, &secret("x"), &mut rng()).unwrap();
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&home).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(store);
}

#[test]
fn a_wrong_passphrase_is_told_from_a_damaged_database() {
    let (_dir, home) = home();
    drop(Store::create(&home, &secret("right"), &mut rng()).unwrap());
    assert!(matches!(Store::open(&home, &secret("wrong")), Err(StoreError::WrongPassphrase)));
    let database = home.join(DATABASE);
    let mut bytes = fs::read(&database).unwrap();
    bytes[100] ^= 1;
    fs::write(&database, bytes).unwrap();
    assert!(matches!(Store::open(&home, &secret("right")), Err(StoreError::Damaged)));
}

#[test]
fn a_damaged_key_file_is_not_called_a_wrong_passphrase() {
    let (_dir, home) = home();
    drop(Store::create(&home, &secret("right"), &mut rng()).unwrap());
    let path = home.join(KEY_FILE);
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x10;
        fs::write(&path, bad).unwrap();
        assert!(matches!(Store::key_kind(&home), Err(StoreError::KeyFileDamaged(_))), "byte {position}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(Store::open(&home, &secret("right")), Err(StoreError::KeyFileDamaged(_))));
}

#[test]
fn missing_files_are_named() {
    let (_dir, home) = home();
    assert!(matches!(Store::open(&home, &secret("x")), Err(StoreError::NotSetUp(_))));
    drop(Store::create(&home, &secret("x"), &mut rng()).unwrap());
    fs::rename(home.join(KEY_FILE), home.join("elsewhere")).unwrap();
    assert!(matches!(Store::open(&home, &secret("x")), Err(StoreError::KeyFileMissing(_))));
    assert!(matches!(Store::create(&home, &secret("x"), &mut rng()), Err(StoreError::KeyFileMissing(_))));
    fs::rename(home.join("elsewhere"), home.join(KEY_FILE)).unwrap();
    assert!(matches!(Store::create(&home, &secret("x"), &mut rng()), Err(StoreError::AlreadySetUp(_))));
    fs::remove_file(home.join(DATABASE)).unwrap();
    assert!(matches!(Store::open(&home, &secret("x")), Err(StoreError::DatabaseMissing(_))));
    // An interrupted creation looks like this, and creating again finishes it.
    Store::create(&home, &secret("y"), &mut rng()).unwrap();
}

#[test]
fn a_second_process_on_one_home_is_refused_until_the_first_ends() {
    let (_dir, home) = home();
    let first = Store::create(&home, &secret("x"), &mut rng()).unwrap();
    assert!(matches!(Store::open(&home, &secret("x")), Err(StoreError::InUse(_))));
    drop(first);
    Store::open(&home, &secret("x")).unwrap();
}

#[test]
fn without_a_keychain_the_message_names_the_way_out() {
    // Test machines have no session bus; where there is one, the entry is missing instead.
    let (_dir, home) = home();
    drop(Store::create(&home, &secret("x"), &mut rng()).unwrap());
    let keychain = KeySource::Keychain { service: "veilpost-test".into(), user: "nobody".into() };
    assert!(matches!(Store::open(&home, &keychain), Err(StoreError::PassphraseNeeded)));
    assert!(StoreError::NoKeychain.to_string().contains("--passphrase-file"));
}

#[test]
fn an_error_inside_a_transaction_leaves_nothing_behind() {
    let mut store = Store::in_memory().unwrap();
    let result: Result<(), StoreError> = store.transaction(|tx| {
        meta::set(tx, "a", b"1")?;
        Err(StoreError::Missing("courage"))
    });
    assert!(result.is_err());
    assert_eq!(meta::get(store.connection(), "a").unwrap(), None);
}

#[test]
fn a_file_that_is_no_database_is_called_damaged() {
    let (_dir, home) = home();
    drop(Store::create(&home, &secret("x"), &mut rng()).unwrap());
    fs::File::create(home.join(DATABASE)).unwrap().write_all(&[0x55; 8_192]).unwrap();
    assert!(matches!(Store::open(&home, &secret("x")), Err(StoreError::Damaged)));
}

#[test]
fn contact_names_are_unique_without_regard_to_case() {
    let store = Store::in_memory().unwrap();
    let connection = store.connection();
    let bob = contact(connection);
    let again = contacts::create(connection, "BOB", ContactState::Invited, Timestamp::ZERO);
    assert!(matches!(again, Err(StoreError::NameTaken)));
    assert_eq!(contacts::by_name(connection, "bob").unwrap().unwrap().id, bob);
    assert_eq!(contacts::free_name(connection, "Bob").unwrap(), "Bob 2");
    assert_eq!(contacts::free_name(connection, "Carol").unwrap(), "Carol");
}

#[test]
fn a_pinned_identity_never_changes() {
    let store = Store::in_memory().unwrap();
    let connection = store.connection();
    let bob = contact(connection);
    let (one, other) = (contacts::PeerIdentity([1; 32]), contacts::PeerIdentity([2; 32]));
    assert!(contacts::pin(connection, bob, &one).unwrap());
    assert!(contacts::pin(connection, bob, &one).unwrap());
    assert!(!contacts::pin(connection, bob, &other).unwrap());
    assert_eq!(contacts::by_identity(connection, &one).unwrap().unwrap().id, bob);
}

#[test]
fn a_repeated_message_is_written_once_per_contact_and_direction() {
    let store = Store::in_memory().unwrap();
    let connection = store.connection();
    let bob = contact(connection);
    let carol = contacts::create(connection, "Carol", ContactState::Invited, Timestamp::ZERO).unwrap();
    assert!(messages::insert(connection, &text(bob, 1, Direction::In, State::Received)).unwrap().is_some());
    assert!(messages::insert(connection, &text(bob, 1, Direction::In, State::Received)).unwrap().is_none());
    assert!(messages::insert(connection, &text(carol, 1, Direction::In, State::Received)).unwrap().is_some());
    assert!(messages::insert(connection, &text(bob, 1, Direction::Out, State::Queued)).unwrap().is_some());
    assert_eq!(messages::list(connection, None, 10).unwrap().len(), 3);
    assert_eq!(messages::queued(connection).unwrap(), 1);
}

#[test]
fn a_state_moves_forward_only() {
    let store = Store::in_memory().unwrap();
    let connection = store.connection();
    let bob = contact(connection);
    let id = messages::insert(connection, &text(bob, 1, Direction::Out, State::Queued)).unwrap().unwrap();
    assert!(messages::advance(connection, id, State::Delivered, None).unwrap());
    assert!(!messages::advance(connection, id, State::Stored, None).unwrap());
    assert!(!messages::advance(connection, id, State::Failed, Some("late")).unwrap());
    let row = messages::by_id(connection, id).unwrap();
    assert_eq!((row.message.state, row.reason), (State::Delivered, None));
    assert_eq!(row.message.at, Timestamp::from_millis(1_234));
}

#[test]
fn a_file_is_whole_when_its_last_piece_is_there() {
    let store = Store::in_memory().unwrap();
    let connection = store.connection();
    let shape = FileShape::new(25, 10, [0; 32]).unwrap();
    assert_eq!(shape.pieces, 3);
    let id = files::create(connection, &shape).unwrap();
    assert!(files::put_piece(connection, id, 2, b"12345").unwrap());
    assert!(!files::put_piece(connection, id, 2, b"54321").unwrap());
    assert!(files::put_piece(connection, id, 1, b"short").is_err());
    assert!(files::put_piece(connection, id, 3, b"").is_err());
    files::put_piece(connection, id, 0, b"abcdefghij").unwrap();
    assert_eq!(files::read_all(connection, id).unwrap(), None);
    files::put_piece(connection, id, 1, b"ABCDEFGHIJ").unwrap();
    assert_eq!(files::read_all(connection, id).unwrap().unwrap(), b"abcdefghijABCDEFGHIJ12345");
    assert!(FileShape::new(files::MAX_FILE + 1, 10, [0; 32]).is_none());
}
