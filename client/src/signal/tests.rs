use super::*;
use crate::{
    content,
    store::{
        Store, StoreError,
        contacts::{self, ContactId, ContactState, PeerIdentity},
    },
};
use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::{
    geometry::BOX_PLAINTEXT,
    ids::NetworkId,
    random::{self, EngineRng},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const DAY: Duration = Duration::from_secs(86_400);

struct Person {
    store: Store,
    rng: EngineRng,
    identity: PeerIdentity,
}

impl Person {
    fn new(seed: u8) -> Self {
        let (mut store, mut rng) = (Store::in_memory().unwrap(), random::seeded([seed; 32]));
        let network = NetworkId([0; 32]);
        let identity = store.transaction(|tx| create_account(tx, "me", network, NOW, &mut rng)).unwrap();
        Self { store, rng, identity }
    }

    fn contact(&self, name: &str) -> ContactId {
        contacts::create(self.store.connection(), name, ContactState::Invited, NOW).unwrap()
    }

    fn bundle(&mut self) -> (PrekeySetId, Bundle) {
        let (store, rng) = (&mut self.store, &mut self.rng);
        let (set, bundle) = store.transaction(|tx| create_bundle(tx, None, NOW, rng)).unwrap();
        (set, Bundle::decode(&bundle.encode()).unwrap())
    }

    fn open(&mut self, contact: ContactId, bundle: &Bundle) -> Result<(), SignalError> {
        let (store, rng) = (&mut self.store, &mut self.rng);
        store.transaction(|tx| open_session(tx, contact, bundle, NOW, rng))
    }

    fn seal(&mut self, to: ContactId, text: &[u8]) -> Vec<u8> {
        self.seal_at(to, text, NOW).unwrap()
    }

    fn seal_at(&mut self, to: ContactId, text: &[u8], now: Timestamp) -> Result<Vec<u8>, SignalError> {
        let (store, rng) = (&mut self.store, &mut self.rng);
        store.transaction(|tx| encrypt(tx, to, text, now, rng))
    }

    fn read(&mut self, from: ContactId, sealed: &[u8]) -> Result<Vec<u8>, SignalError> {
        self.read_at(from, sealed, NOW)
    }

    fn read_at(&mut self, from: ContactId, sealed: &[u8], now: Timestamp) -> Result<Vec<u8>, SignalError> {
        let (store, rng) = (&mut self.store, &mut self.rng);
        store.transaction(|tx| decrypt(tx, from, sealed, now, rng)).map(|plaintext| plaintext.to_vec())
    }

    fn read_first(&mut self, from: ContactId, set: PrekeySetId, sealed: &[u8]) -> Result<First, SignalError> {
        let (store, rng) = (&mut self.store, &mut self.rng);
        store.transaction(|tx| decrypt_first(tx, from, set, sealed, NOW, rng))
    }

    fn prekey_sets(&self) -> i64 {
        self.store.connection().query_row("SELECT count(*) FROM prekey_sets", [], |row| row.get(0)).unwrap()
    }
}

/// Alice invited Bob, Bob answered, Alice read the answer; nobody has written anything else.
struct Pair {
    alice: Person,
    bob: Person,
    alices_bob: ContactId,
    bobs_alice: ContactId,
}

impl Pair {
    fn new() -> Self {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let (alices_bob, bobs_alice) = (alice.contact("Bob"), bob.contact("Alice"));
        let (set, bundle) = alice.bundle();
        assert_eq!(*bundle.identity(), alice.identity);
        bob.open(bobs_alice, &bundle).unwrap();
        let answer = bob.seal(bobs_alice, b"hello");
        let first = alice.read_first(alices_bob, set, &answer).unwrap();
        assert_eq!((first.peer, first.plaintext.as_slice()), (bob.identity, b"hello".as_slice()));
        Self { alice, bob, alices_bob, bobs_alice }
    }

    fn alice_to_bob(&mut self, text: &[u8]) -> Vec<u8> {
        let sealed = self.alice.seal(self.alices_bob, text);
        self.bob.read(self.bobs_alice, &sealed).unwrap()
    }

    fn bob_to_alice(&mut self, text: &[u8]) -> Vec<u8> {
        let sealed = self.bob.seal(self.bobs_alice, text);
        self.alice.read(self.alices_bob, &sealed).unwrap()
    }
}

#[test]
fn two_people_talk_in_both_directions() {
    let mut pair = Pair::new();
    for round in 0..20u8 {
        assert_eq!(pair.alice_to_bob(&[round; 160]), [round; 160]);
        assert_eq!(pair.bob_to_alice(&[round; 33]), [round; 33]);
    }
}

#[test]
fn sizes_stay_within_what_the_boxes_are_planned_for() {
    let (mut alice, mut bob) = (Person::new(1), Person::new(2));
    let bobs_alice = bob.contact("Alice");
    let (_, bundle) = alice.bundle();
    assert_eq!((bundle.encode().len(), Bundle::LEN), (1_799, 1_799));
    bob.open(bobs_alice, &bundle).unwrap();
    let first = bob.seal(bobs_alice, &[0; 160]).len();
    assert!((2_200..2_320).contains(&first), "{first}");
    // A first message with a text of a kilobyte fits one box.
    assert!(bob.seal(bobs_alice, &[0; 1_024]).len() < BOX_PLAINTEXT - 64);
    let largest = bob.seal(bobs_alice, &vec![0; MAX_PLAINTEXT]).len();
    assert!(largest <= MAX_SEALED, "{largest}");
    let mut pair = Pair::new();
    pair.alice_to_bob(b"hi");
    pair.bob_to_alice(b"hi");
    let later = pair.alice.seal(pair.alices_bob, &[0; 160]).len();
    assert!((500..700).contains(&later), "{later}");
}

#[test]
fn one_seed_gives_one_run() {
    let run = || {
        let mut pair = Pair::new();
        let sealed: Vec<_> = (0..10u8).map(|n| pair.alice.seal(pair.alices_bob, &[n; 50])).collect();
        for message in &sealed {
            pair.bob.read(pair.bobs_alice, message).unwrap();
        }
        (sealed, pair.bob.seal(pair.bobs_alice, b"end"))
    };
    assert_eq!(run(), run());
}

#[test]
fn messages_open_in_any_order() {
    let mut pair = Pair::new();
    for unanswered in [true, false] {
        let sealed: Vec<_> = (0..5u8).map(|n| pair.bob.seal(pair.bobs_alice, &[n])).collect();
        for n in [4u8, 2, 0, 1, 3] {
            assert_eq!(pair.alice.read(pair.alices_bob, &sealed[usize::from(n)]).unwrap(), [n]);
        }
        if unanswered {
            pair.alice_to_bob(b"an answer ends the first messages");
        }
    }
}

#[test]
fn a_message_opens_as_long_as_its_chain_is_one_of_the_newest_and_a_turn_is_told_before_it_happens() {
    let mut pair = Pair::new();
    pair.bob_to_alice(b"0");
    pair.alice_to_bob(b"0");
    let late: Vec<_> = (0..2u8).map(|n| pair.bob.seal(pair.bobs_alice, &[n])).collect();
    for turn in 1..=CHAINS_KEPT {
        let sealed = pair.bob.seal(pair.bobs_alice, b"turn");
        let turns = |pair: &Pair| turns_ratchet(pair.alice.store.connection(), pair.alices_bob, &sealed).unwrap();
        assert!(turn == 1 || turns(&pair), "turn {turn}");
        if turn == CHAINS_KEPT {
            assert_eq!(pair.alice.read(pair.alices_bob, &late[0]).unwrap(), [0]);
        }
        pair.alice.read(pair.alices_bob, &sealed).unwrap();
        assert!(!turns(&pair));
        pair.alice_to_bob(b"turn");
    }
    pair.bob_to_alice(b"one turn more");
    assert!(matches!(pair.alice.read(pair.alices_bob, &late[1]), Err(SignalError::DoesNotOpen)));
}

#[test]
fn a_late_message_opens_after_long_turns_too() {
    let mut pair = Pair::new();
    pair.bob_to_alice(b"0");
    pair.alice_to_bob(b"0");
    let late = pair.bob.seal(pair.bobs_alice, b"late");
    for _ in 0..CHAINS_KEPT - 1 {
        for _ in 0..60 {
            pair.bob_to_alice(b"one of many");
        }
        for _ in 0..60 {
            pair.alice_to_bob(b"one of many");
        }
    }
    assert_eq!(pair.alice.read(pair.alices_bob, &late).unwrap(), b"late");
}

#[test]
fn a_duplicate_is_called_one_and_changes_nothing() {
    let mut pair = Pair::new();
    let sealed = pair.alice.seal(pair.alices_bob, b"once");
    pair.bob.read(pair.bobs_alice, &sealed).unwrap();
    assert!(matches!(pair.bob.read(pair.bobs_alice, &sealed), Err(SignalError::Duplicate)));
    assert_eq!(pair.alice_to_bob(b"still here"), b"still here");
}

#[test]
fn a_changed_byte_never_opens_and_leaves_the_session_as_it_was() {
    let mut pair = Pair::new();
    pair.alice_to_bob(b"warm up");
    let sealed = pair.alice.seal(pair.alices_bob, b"text");
    for position in (0..sealed.len()).step_by(7) {
        let mut bad = sealed.clone();
        bad[position] ^= 1;
        assert!(pair.bob.read(pair.bobs_alice, &bad).is_err(), "byte {position}");
    }
    for length in [0, 1, 50, sealed.len() - 1] {
        assert!(pair.bob.read(pair.bobs_alice, &sealed[..length]).is_err());
    }
    assert_eq!(pair.bob.read(pair.bobs_alice, &sealed).unwrap(), b"text");
}

#[test]
fn a_message_of_another_contact_is_refused_in_this_ones_stream() {
    let mut pair = Pair::new();
    let mut carol = Person::new(3);
    let (carols_alice, alices_carol) = (carol.contact("Alice"), pair.alice.contact("Carol"));
    let (set, bundle) = pair.alice.bundle();
    carol.open(carols_alice, &bundle).unwrap();
    let answer = carol.seal(carols_alice, b"hello");
    pair.alice.read_first(alices_carol, set, &answer).unwrap();
    let sealed = carol.seal(carols_alice, b"I am Bob");
    assert!(matches!(pair.alice.read(pair.alices_bob, &sealed), Err(SignalError::WrongSender)));
    assert_eq!(pair.alice.read(alices_carol, &sealed).unwrap(), b"I am Bob");
}

#[test]
fn a_message_for_someone_else_does_not_open() {
    let mut pair = Pair::new();
    let mut carol = Person::new(3);
    let carols_bob = carol.contact("Bob");
    contacts::pin(carol.store.connection(), carols_bob, &pair.bob.identity).unwrap();
    let sealed = pair.bob.seal(pair.bobs_alice, b"for Alice");
    assert!(matches!(carol.read(carols_bob, &sealed), Err(SignalError::DoesNotOpen)));
}

#[test]
fn after_a_rollback_the_session_is_usable_and_the_lost_message_is_not_missed() {
    let mut pair = Pair::new();
    let (store, rng) = (&mut pair.alice.store, &mut pair.alice.rng);
    let contact = pair.alices_bob;
    let dropped: Result<(), SignalError> = store.transaction(|tx| {
        encrypt(tx, contact, b"never leaves", NOW, rng)?;
        Err(SignalError::Store(StoreError::DiskFull))
    });
    assert!(dropped.is_err());
    assert_eq!(pair.alice_to_bob(b"leaves"), b"leaves");
    assert_eq!(pair.alice_to_bob(b"and the next"), b"and the next");
}

#[test]
fn a_rolled_back_message_can_be_opened_again() {
    let mut pair = Pair::new();
    let sealed = pair.alice.seal(pair.alices_bob, b"text");
    let (store, rng) = (&mut pair.bob.store, &mut pair.bob.rng);
    let contact = pair.bobs_alice;
    let dropped: Result<(), SignalError> = store.transaction(|tx| {
        decrypt(tx, contact, &sealed, NOW, rng)?;
        Err(SignalError::Store(StoreError::DiskFull))
    });
    assert!(dropped.is_err());
    assert_eq!(pair.bob.read(pair.bobs_alice, &sealed).unwrap(), b"text");
}

#[test]
fn an_invitation_is_good_for_one_answer_and_for_its_own_prekeys() {
    let (mut alice, mut bob, mut carol) = (Person::new(1), Person::new(2), Person::new(3));
    let (bobs_alice, carols_alice) = (bob.contact("Alice"), carol.contact("Alice"));
    let (alices_bob, alices_carol) = (alice.contact("Bob"), alice.contact("Carol"));
    let (set, bundle) = alice.bundle();
    let (other, _) = alice.bundle();
    bob.open(bobs_alice, &bundle).unwrap();
    carol.open(carols_alice, &bundle).unwrap();
    let (from_bob, from_carol) = (bob.seal(bobs_alice, b"bob"), carol.seal(carols_alice, b"carol"));
    assert!(matches!(alice.read_first(alices_bob, other, &from_bob), Err(SignalError::WrongPrekeys)));
    assert_eq!(alice.prekey_sets(), 2);
    alice.read_first(alices_bob, set, &from_bob).unwrap();
    assert_eq!(alice.prekey_sets(), 1);
    assert!(matches!(alice.read_first(alices_carol, set, &from_carol), Err(SignalError::WrongPrekeys)));
    // The failed answer pinned nothing.
    assert_eq!(contacts::by_id(alice.store.connection(), alices_carol).unwrap().identity, None);
}

#[test]
fn a_contact_cannot_use_the_prekeys_of_an_open_invitation() {
    let mut pair = Pair::new();
    let (_, bundle) = pair.alice.bundle();
    // Bob starts a second session from a link that was meant for someone else.
    pair.bob.open(pair.bobs_alice, &bundle).unwrap();
    let sealed = pair.bob.seal(pair.bobs_alice, b"again");
    assert!(matches!(pair.alice.read(pair.alices_bob, &sealed), Err(SignalError::WrongPrekeys)));
    assert_eq!(pair.alice.prekey_sets(), 1);
}

#[test]
fn a_bundle_made_for_a_contact_resets_its_session() {
    let mut pair = Pair::new();
    let (store, rng, contact) = (&mut pair.alice.store, &mut pair.alice.rng, pair.alices_bob);
    let (_, bundle) = store.transaction(|tx| create_bundle(tx, Some(contact), NOW, rng)).unwrap();
    pair.bob.open(pair.bobs_alice, &bundle).unwrap();
    assert_eq!(pair.bob_to_alice(b"fresh"), b"fresh");
    assert_eq!(pair.alice_to_bob(b"fresh"), b"fresh");
}

#[test]
fn one_cannot_answer_ones_own_invitation() {
    let mut alice = Person::new(1);
    let contact = alice.contact("Me");
    let (_, bundle) = alice.bundle();
    assert!(matches!(alice.open(contact, &bundle), Err(SignalError::Ourselves)));
}

#[test]
fn a_contact_with_another_pinned_identity_is_not_overwritten() {
    let mut pair = Pair::new();
    let mut carol = Person::new(3);
    let (_, bundle) = carol.bundle();
    assert!(matches!(pair.bob.open(pair.bobs_alice, &bundle), Err(SignalError::IdentityChanged)));
    assert_eq!(pair.bob_to_alice(b"as before"), b"as before");
}

#[test]
fn an_unanswered_session_stops_sending_after_thirty_days_and_an_answered_one_does_not() {
    let mut pair = Pair::new();
    let later = NOW + 31 * DAY;
    assert!(pair.bob.seal_at(pair.bobs_alice, b"x", NOW + 29 * DAY).is_ok());
    assert!(matches!(pair.bob.seal_at(pair.bobs_alice, b"x", later), Err(SignalError::Unanswered)));
    pair.alice_to_bob(b"an answer at last");
    assert!(pair.bob.seal_at(pair.bobs_alice, b"x", later).is_ok());
}

#[test]
fn a_contact_without_a_session_is_a_plain_error() {
    let mut alice = Person::new(1);
    let contact = alice.contact("Bob");
    assert!(matches!(alice.seal_at(contact, b"x", NOW), Err(SignalError::NoSession)));
    assert!(matches!(alice.read(contact, b"x"), Err(SignalError::NoSession)));
}

#[test]
fn a_certificate_expires_after_five_years_and_is_renewed_before() {
    let mut pair = Pair::new();
    pair.alice_to_bob(b"answered");
    let sealed = pair.alice.seal(pair.alices_bob, b"old");
    let far = NOW + 6 * 365 * DAY;
    assert!(matches!(pair.bob.read_at(pair.bobs_alice, &sealed, far), Err(SignalError::BadCertificate)));
    let renewed = pair.alice.seal_at(pair.alices_bob, b"new", NOW + 5 * 365 * DAY).unwrap();
    assert_eq!(pair.bob.read_at(pair.bobs_alice, &renewed, far).unwrap(), b"new");
}

#[test]
fn safety_numbers_agree_and_expose_another_identity() {
    let pair = Pair::new();
    let ours = SafetyNumber::with(pair.alice.store.connection(), &pair.bob.identity).unwrap();
    let theirs = SafetyNumber::with(pair.bob.store.connection(), &pair.alice.identity).unwrap();
    assert_eq!(ours.groups(), theirs.groups());
    assert_eq!(ours.groups().len(), 12);
    assert!(ours.groups().iter().all(|group| group.len() == 5 && group.bytes().all(|b| b.is_ascii_digit())));
    assert!(ours.matches(&theirs.scannable().unwrap()).unwrap());
    let carol = Person::new(3);
    let other = SafetyNumber::with(carol.store.connection(), &pair.alice.identity).unwrap();
    assert!(!ours.matches(&other.scannable().unwrap()).unwrap());
    assert!(ours.matches(b"rubbish").is_err());
}

#[test]
fn a_bundle_with_a_foreign_signature_or_a_weak_key_is_refused() {
    let (mut alice, mut carol) = (Person::new(1), Person::new(3));
    let (good, other) = (alice.bundle().1.encode(), carol.bundle().1.encode());
    // Offsets by the format's table: set 3, identity 7, one-time 39, signed 71, signature 103, Kyber 167, signature 1735.
    for (field, place) in [("signed", 71..167), ("kyber", 167..1_799)] {
        let mut mixed = good.clone();
        mixed[place.clone()].copy_from_slice(&other[place]);
        assert!(matches!(Bundle::decode(&mixed), Err(SignalError::BadBundle(_))), "{field}");
    }
    for place in [7..39, 39..71, 71..103] {
        let mut weak = good.clone();
        weak[place].fill(0);
        assert!(matches!(Bundle::decode(&weak), Err(SignalError::WeakKey(_))));
    }
    assert!(Bundle::decode(&good[..good.len() - 1]).is_err());
    assert!(Bundle::decode(&[good, vec![0]].concat()).is_err());
}

#[test]
fn what_is_sealed_shows_neither_text_nor_identity() {
    let mut pair = Pair::new();
    let sealed = pair.alice.seal(pair.alices_bob, &[b'x'; 100]);
    for secret in [pair.alice.identity.as_bytes().as_slice(), pair.bob.identity.as_bytes(), b"xxxxxxxx"] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn typed_content_of_full_length_passes_through_a_session() {
    let mut pair = Pair::new();
    let message = content::Message {
        uuid: content::Uuid([1; 16]),
        sent_at: NOW,
        body: content::Body::Text("ä".repeat(content::MAX_TEXT / 2)),
    };
    let opened = pair.bob_to_alice(&message.encode().unwrap());
    assert_eq!(content::Message::decode(&opened).unwrap(), message);
    let too_large = vec![0; MAX_PLAINTEXT + 1];
    assert!(matches!(pair.bob.seal_at(pair.bobs_alice, &too_large, NOW), Err(SignalError::TooLarge)));
    assert!(matches!(pair.bob.read(pair.bobs_alice, &vec![0; MAX_SEALED + 1]), Err(SignalError::TooLarge)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_open_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let mut pair = Pair::new();
        prop_assert!(pair.bob.read(pair.bobs_alice, &bytes).is_err());
        prop_assert!(Bundle::decode(&bytes).is_err());
    }
}
