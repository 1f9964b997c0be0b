//! Two engines whose boxes a test carries by hand: in any order, some never, some damaged, with any answer.

use super::{
    world::{document, mailbox_secret},
    *,
};
use crate::{
    arq::{BROKEN_MAX, GETS_MAX},
    content::{Body, Manifest, StreamSeed, Uuid},
    core::{online::OnlineClock, reading::late_wait},
    store::{
        files::MAX_FILE,
        messages::{Kind, State, StoredMessage},
        restarts,
    },
};
use veilpost_packet::{
    boxes::SealedBox,
    command::{Answer as Told, HolderSignature},
    ids::NodeId,
};

struct Two {
    alice: Core,
    bob: Core,
}

/// What a mailbox signs with.
fn holder() -> SigningSecret {
    mailbox_secret(0)
}

/// The answer to a Put of Alice's.
fn answered(core: &mut Core, id: OutboxId, mailbox: NodeId, answer: Told) {
    let document = core.document.as_ref().unwrap().hash();
    core.handle_put_answer(NOW, id, &document, mailbox, answer).unwrap();
}

/// Boxes that were queued since the last call, without decoys.
fn sent(core: &mut Core) -> Vec<Outgoing> {
    let ids: Vec<OutboxId> =
        core.outbox.values().filter(|out| out.kind != StreamKind::Decoys).map(|out| out.id).collect();
    ids.iter().filter_map(|id| core.outbox.remove(id)).collect()
}

/// A digest names the box, and its Get brings `found`.
fn bring(core: &mut Core, now: Timestamp, named: &SealedBox, found: &SealedBox) -> Option<FetchKey> {
    core.handle_hits(now, vec![BoxTag::of(&named.id)], None).unwrap();
    let key = core.fetches.values().find(|fetch| fetch.id == named.id)?.key;
    core.handle_get_answer(now, key, holder().node_id(), Told::Found(Box::new(found.clone()))).unwrap();
    Some(key)
}

fn deliver(core: &mut Core, now: Timestamp, sealed: &SealedBox) {
    bring(core, now, sealed, sealed);
}

fn history(core: &Core, direction: messages::Direction) -> Vec<StoredMessage> {
    let all = messages::list(core.store.connection(), None, 10_000).unwrap();
    all.into_iter().filter(|one| one.message.direction == direction).collect()
}

fn received(core: &Core) -> Vec<String> {
    history(core, messages::Direction::In).into_iter().filter_map(|one| one.message.text).collect()
}

impl Two {
    fn new() -> Self {
        let (mut alice, mut bob) = (core(), core());
        bob.store = Store::in_memory().unwrap();
        let (network, mut rng) = (bob.authorities.network(), random::seeded([3; 32]));
        bob.store.transaction(|tx| signal::create_account(tx, "Bob", network, NOW, &mut rng)).unwrap();
        let link = invited(&mut alice, NOW);
        let offer = sent(&mut alice).pop().unwrap();
        bob.accept(NOW, &link, Some("Alice"), 7).unwrap();
        let key = bob.fetches.keys().next().copied().unwrap();
        bob.handle_get_answer(NOW, key, holder().node_id(), Told::Found(Box::new(offer.sealed))).unwrap();
        assert!(matches!(bob.poll_answer(), Some((7, Ok(Answer::Accepted(_))))));
        let answer = sent(&mut bob).pop().unwrap();
        deliver(&mut alice, NOW, &answer.sealed);
        let document = document(1, &[holder().node_id()], &alice.authorities);
        alice.handle_document(NOW, &document.bytes()).unwrap();
        Self { alice, bob }
    }

    /// Alice writes; gives the box.
    fn alice_writes(&mut self, now: Timestamp, text: &str) -> SealedBox {
        self.alice.send_text(now, "Bob", text).unwrap();
        sent(&mut self.alice).pop().unwrap().sealed
    }

    /// Bob writes and Alice reads: her ratchet turns with her next message, if Bob's has turned.
    fn bob_answers(&mut self, now: Timestamp) {
        self.bob.send_text(now, "Alice", "go on").unwrap();
        for out in sent(&mut self.bob) {
            deliver(&mut self.alice, now, &out.sealed);
        }
    }

    /// How many texts Bob has when it is `now`, and he was online for so long in all.
    fn opens(&mut self, now: Timestamp, online: Duration) -> usize {
        self.bob.online = OnlineClock::at(online);
        self.bob.transaction(now, |work| work.open_overdue()).unwrap();
        received(&self.bob).len()
    }

    /// Texts of `turns` turns of the ratchet, each read by Bob as soon as it is written.
    fn talk(&mut self, turns: std::ops::Range<usize>) {
        for turn in turns {
            let sealed = self.alice_writes(NOW, &format!("turn {turn}"));
            deliver(&mut self.bob, NOW, &sealed);
            self.bob_answers(NOW);
        }
    }
}

#[test]
fn a_box_that_comes_after_many_turns_of_the_ratchet_still_opens() {
    let mut two = Two::new();
    two.talk(0..3);
    let late = two.alice_writes(NOW, "late");
    two.talk(3..15);
    let before = received(&two.bob);
    // The one before the late box, at most, and as many chains as are kept: what came later waits with it.
    assert!((3 + signal::CHAINS_KEPT - 1..15).contains(&before.len()), "{before:?}");
    deliver(&mut two.bob, NOW, &late);
    let mut all: Vec<String> = (0..15).map(|turn| format!("turn {turn}")).collect();
    all.push("late".into());
    let mut came = received(&two.bob);
    all.sort();
    came.sort();
    assert_eq!(came, all);
    assert_eq!(two.bob.counters.bad_boxes, 0);
}

#[test]
fn what_waits_for_a_lost_box_is_opened_after_two_hours_online_and_the_next_turns_do_not_wait() {
    let mut two = Two::new();
    two.alice_writes(NOW, "lost");
    two.talk(0..12);
    let waiting = received(&two.bob).len();
    assert!(waiting < 12, "something waits");
    let later = NOW + Duration::from_secs(30 * 86_400);
    assert_eq!(two.opens(later, Duration::from_secs(7_199)), waiting, "a month of days offline is no wait");
    assert_eq!(two.opens(NOW, Duration::from_secs(7_200)), 12);
    for turn in 0..12 {
        two.bob_answers(later);
        let sealed = two.alice_writes(later, &format!("later {turn}"));
        deliver(&mut two.bob, later, &sealed);
    }
    assert_eq!(received(&two.bob).len(), 24, "a hole is waited for once");
}

#[test]
fn what_waits_for_a_box_that_was_named_waits_for_a_day_online() {
    let mut two = Two::new();
    let late = two.alice_writes(NOW, "late");
    two.bob.handle_hits(NOW, vec![BoxTag::of(&late.id)], None).unwrap();
    two.talk(0..12);
    let waiting = received(&two.bob).len();
    assert!(waiting < 12, "something waits");
    assert_eq!(two.opens(NOW, Duration::from_secs(86_399)), waiting);
    let mut other = Two::new();
    let lost = other.alice_writes(NOW, "lost");
    other.bob.handle_hits(NOW, vec![BoxTag::of(&lost.id)], None).unwrap();
    other.talk(0..12);
    assert_eq!(other.opens(NOW, Duration::from_secs(86_400)), 12, "a contact is not silent for longer");
    deliver(&mut two.bob, NOW, &late);
    assert_eq!(received(&two.bob).len(), 13, "nothing is lost");
}

#[test]
fn what_was_asked_for_in_vain_as_often_as_can_be_is_waited_for_as_if_it_was_never_named() {
    let mut two = Two::new();
    let lost = two.alice_writes(NOW, "lost");
    two.bob.handle_hits(NOW, vec![BoxTag::of(&lost.id)], None).unwrap();
    let key = two.bob.fetches.values().find(|fetch| fetch.id == lost.id).unwrap().key;
    two.talk(0..12);
    let waiting = received(&two.bob).len();
    for (asked, opened) in [(GETS_MAX - 1, waiting), (GETS_MAX, 12)] {
        streams::set_asked(two.bob.store.connection(), key, asked).unwrap();
        assert_eq!(two.opens(NOW, Duration::from_secs(7_200)), opened, "{asked}");
    }
}

#[test]
fn nothing_waits_longer_than_the_longest_life_of_a_box_however_little_its_reader_is_online() {
    let mut two = Two::new();
    let lost = two.alice_writes(NOW, "lost");
    two.bob.handle_hits(NOW, vec![BoxTag::of(&lost.id)], None).unwrap();
    two.talk(0..12);
    let waiting = received(&two.bob).len();
    let params = Params::standard();
    // Its first life and two renewals.
    let end = NOW + params.day * (3 * params.box_days);
    assert_eq!(two.opens(end - Duration::from_millis(1), Duration::ZERO), waiting);
    assert_eq!(two.opens(end, Duration::ZERO), 12);
}

#[test]
fn the_clock_of_time_online_goes_on_after_a_restart_where_it_was_a_minute_before_at_most() {
    let mut two = Two::new();
    let session = two.bob.new_session();
    let document = document(1, &[holder().node_id()], &two.bob.authorities);
    two.bob.handle_document(NOW, &document.bytes()).unwrap();
    two.bob.handle_timers(NOW);
    let at = |secs: u64| NOW + Duration::from_secs(secs);
    (0..10).for_each(|step| two.bob.handle_timers(at(step * 10)));
    assert_eq!(two.bob.online.total(), Duration::ZERO, "a link that is not up counts for nothing");
    two.bob.handle_connected(at(100), &session, document.entries[0].id);
    (0..50).for_each(|step| two.bob.handle_timers(at(100 + step * 10)));
    assert_eq!(two.bob.online.total(), Duration::from_secs(490));
    two.bob.handle_disconnected();
    two.bob.handle_timers(at(700));
    let (authorities, rng) = (two.bob.authorities.clone(), random::seeded([9; 32]));
    let bob = Core::new(at(800), two.bob.into_store(), authorities, rng).unwrap();
    assert!(bob.online.total() > Duration::from_secs(430), "{:?}", bob.online);
    assert!(bob.online.total() <= Duration::from_secs(490), "{:?}", bob.online);
}

#[test]
fn a_get_whose_answer_was_lost_with_the_link_is_asked_again_over_the_next_and_four_do_not_count() {
    let mut two = Two::new();
    let document = document(1, &[holder().node_id()], &two.bob.authorities);
    two.bob.handle_document(NOW, &document.bytes()).unwrap();
    let sealed = two.alice_writes(NOW, "waits");
    two.bob.handle_hits(NOW, vec![BoxTag::of(&sealed.id)], None).unwrap();
    let key = two.bob.fetches.values().find(|fetch| fetch.id == sealed.id).unwrap().key;
    let mut now = NOW;
    for asked in 1..=BROKEN_MAX + 1 {
        let session = two.bob.new_session();
        two.bob.handle_connected(now, &session, document.entries[0].id);
        while two.bob.fetches[&key].retry.asked < asked {
            now = now + Duration::from_secs(1);
            while let Some(job) = two.bob.poll_job(now) {
                two.bob.handle_built(job.run());
            }
            while two.bob.poll_departure(now).is_some() {}
        }
        let under_way = |bob: &Core| bob.in_flight.values().any(|flight| matches!(flight.purpose, Purpose::Get(..)));
        assert!(under_way(&two.bob));
        let lost = two.bob.counters.lost;
        two.bob.handle_disconnected();
        assert!(!under_way(&two.bob) && two.bob.counters.lost > lost);
        let retry = two.bob.fetches[&key].retry;
        assert_eq!((retry.broken, retry.tries), if asked > BROKEN_MAX { (BROKEN_MAX, 1) } else { (asked, 0) });
    }
}

#[test]
fn what_waits_survives_a_restart() {
    let mut two = Two::new();
    let late = two.alice_writes(NOW, "late");
    two.talk(0..10);
    assert!(received(&two.bob).len() < 10);
    let Two { bob, .. } = two;
    let (authorities, rng) = (bob.authorities.clone(), random::seeded([9; 32]));
    let mut bob = Core::new(NOW, bob.into_store(), authorities, rng).unwrap();
    deliver(&mut bob, NOW, &late);
    assert_eq!(received(&bob).len(), 11);
}

#[test]
fn a_late_hit_waits_ten_minutes_on_average_and_half_an_hour_at_most() {
    let mut rng = random::seeded([4; 32]);
    let waits: Vec<Duration> = (0..2_000).map(|_| late_wait(&mut rng, crate::arq::Pace(1))).collect();
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1_800)));
    let mean = waits.iter().sum::<Duration>() / 2_000;
    // Of what is left below the bound: 506 s, standard deviation of the mean 10 s.
    assert!((450..560).contains(&mean.as_secs()), "{mean:?}");
    assert!(waits.iter().any(|wait| *wait > Duration::from_secs(1_600)));
}

#[test]
fn a_box_that_does_not_open_is_not_acknowledged_and_is_asked_for_again() {
    let mut two = Two::new();
    let sealed = two.alice_writes(NOW, "whole");
    let mut damaged = sealed.clone();
    damaged.ciphertext[0] ^= 1;
    let key = bring(&mut two.bob, NOW, &sealed, &damaged).unwrap();
    assert!(two.bob.acks.is_empty() && received(&two.bob).is_empty());
    assert!(!two.bob.fetches[&key].retry.answered, "as if nothing had come");
    assert!(!streams::is_done(two.bob.store.connection(), key).unwrap());
    deliver(&mut two.bob, NOW, &sealed);
    assert_eq!((received(&two.bob), two.bob.acks.len()), (vec!["whole".to_owned()], 1));
}

#[test]
fn an_offer_that_cannot_be_answered_leaves_nothing_of_its_opening_behind() {
    let (mut alice, mut bob) = (core(), core());
    bob.store = Store::in_memory().unwrap();
    let (network, mut rng) = (bob.authorities.network(), random::seeded([3; 32]));
    bob.store.transaction(|tx| signal::create_account(tx, "Bob", network, NOW, &mut rng)).unwrap();
    let link = invited(&mut alice, NOW);
    let offer = sent(&mut alice).pop().unwrap();
    bob.accept(NOW, &link, None, 7).unwrap();
    // The disk fails at the last of what opening writes.
    bob.store
        .connection()
        .execute_batch("CREATE TEMP TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    let key = bob.fetches.keys().next().copied().unwrap();
    assert!(bob.handle_get_answer(NOW, key, holder().node_id(), Told::Found(Box::new(offer.sealed.clone()))).is_err());
    let count = |bob: &Core, table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        bob.store.connection().query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count(&bob, "sessions"), count(&bob, "streams")), (0, 1), "only the offer's own stream is there");
    assert!(!streams::is_done(bob.store.connection(), key).unwrap());
    bob.store.connection().execute_batch("DROP TRIGGER full").unwrap();
    bob.handle_get_answer(NOW, key, holder().node_id(), Told::Found(Box::new(offer.sealed))).unwrap();
    assert!(matches!(bob.poll_answer(), Some((7, Ok(Answer::Accepted(_))))));
}

/// Alice has queued one message; gives its box and what a mailbox signs for it.
fn queued(two: &mut Two) -> (Outgoing, NodeId, Told) {
    two.alice.send_text(NOW, "Bob", "hello").unwrap();
    let out = two.alice.outbox.values().find(|out| out.message.is_some()).unwrap().clone();
    let network = two.alice.authorities.network();
    let content = out.sealed.content_hash(&network);
    let signed = HolderSignature::sign(&holder(), &network, &out.sealed.id, &content, out.sealed.expiry);
    (out, holder().node_id(), Told::Stored([signed, signed]))
}

fn state(core: &Core, out: &Outgoing) -> State {
    messages::by_id(core.store.connection(), out.message.unwrap()).unwrap().message.state
}

#[test]
fn an_unsigned_answer_does_not_undo_a_signed_one() {
    for unsigned in [Told::Conflict, Told::Refused, Told::Full] {
        let mut two = Two::new();
        let (out, mailbox, stored) = queued(&mut two);
        answered(&mut two.alice, out.id, mailbox, stored);
        for _ in 0..3 {
            answered(&mut two.alice, out.id, mailbox, unsigned.clone());
        }
        assert_eq!(state(&two.alice, &out), State::Stored, "{unsigned:?}");
        assert!(two.alice.outbox.contains_key(&out.id), "its planned sendings go on");
    }
}

#[test]
fn one_unsigned_conflict_fails_nothing_and_a_second_one_begins_the_conversation_anew_once_a_day() {
    let mut two = Two::new();
    let (out, mailbox, stored) = queued(&mut two);
    answered(&mut two.alice, out.id, mailbox, Told::Conflict);
    assert_eq!(state(&two.alice, &out), State::Queued);
    assert!(two.alice.status(NOW).unwrap().warnings.iter().any(|told| told.contains("holds something else")));
    answered(&mut two.alice, out.id, mailbox, stored);
    assert_eq!(state(&two.alice, &out), State::Stored);

    let mut two = Two::new();
    let (out, mailbox, _) = queued(&mut two);
    for _ in 0..2 {
        answered(&mut two.alice, out.id, mailbox, Told::Conflict);
    }
    assert_eq!(state(&two.alice, &out), State::Queued, "it waits for the new stream");
    assert!(!two.alice.outbox.contains_key(&out.id), "nothing more is sent in the old one");
    assert!(two.alice.status(NOW).unwrap().warnings.iter().any(|told| told.contains("began anew")));
    let contact = two.alice.contact("Bob").unwrap().id;
    assert!(restarts::pending(two.alice.store.connection(), contact).unwrap().is_some());

    // A mailbox that says so again does not make it begin anew again.
    two.alice.transaction(NOW, |work| Ok(restarts::remove(work.tx, contact)?)).unwrap();
    two.alice.transaction(NOW, |work| work.send_waiting()).unwrap();
    let last = restarts::last(two.alice.store.connection(), contact).unwrap();
    let out = two.alice.outbox.values().find(|out| out.message.is_some()).unwrap().clone();
    for _ in 0..2 {
        answered(&mut two.alice, out.id, mailbox, Told::Conflict);
    }
    assert_eq!(state(&two.alice, &out), State::Failed);
    assert_eq!(restarts::last(two.alice.store.connection(), contact).unwrap(), last);
}

#[test]
fn a_window_spans_at_most_its_bound_whatever_holes_its_writer_leaves() {
    use crate::core::reading::{SPAN_KEPT, SPAN_MAX};
    let mut two = Two::new();
    let contact = two.bob.contact("Alice").unwrap().id;
    let stream = streams::of_contact(two.bob.store.connection(), contact, StreamKind::MessagesIn).unwrap().unwrap();
    let mut writer = {
        let alices = two.alice.contact("Bob").unwrap().id;
        let out = streams::of_contact(two.alice.store.connection(), alices, StreamKind::MessagesOut).unwrap().unwrap();
        streams::write_cap(two.alice.store.connection(), out.id).unwrap()
    };
    let (network, first) = (two.bob.authorities.network(), writer.index());
    let terms = veilpost_packet::boxes::BoxTerms {
        district: veilpost_packet::ids::District(0),
        class: veilpost_packet::boxes::BoxClass::Solo,
        expiry: veilpost_packet::time::Day(30_000),
    };
    // Only every 192nd box is ever put, so that the fourth lies exactly at the bound: each lies in the window that the one
    // before has opened.
    for number in 1..=40u64 {
        let sealed = loop {
            let sealed = writer.seal_next(&network, terms, b"nonsense").unwrap();
            if writer.index() - first > 1 && (writer.index() - first) % 192 == 1 {
                break sealed;
            }
        };
        deliver(&mut two.bob, NOW, &sealed);
        let low = streams::read_cap(two.bob.store.connection(), stream.id).unwrap().index();
        let highest = writer.index() - 1;
        assert!(two.bob.watched[&stream.id] - low <= SPAN_MAX, "box {number}: {low}");
        assert!(highest - low <= SPAN_MAX - 256, "box {number}: {low}, {highest}");
        let rows = streams::known_indices(two.bob.store.connection(), stream.id).unwrap();
        assert!(rows.iter().all(|row| *row >= low));
    }
    let low = streams::read_cap(two.bob.store.connection(), stream.id).unwrap().index();
    assert!(low > 40 * 192 - SPAN_MAX && low + SPAN_KEPT >= 40 * 192 - SPAN_MAX);
}

#[test]
fn receipts_for_a_contact_without_a_session_do_not_hold_back_those_of_others() {
    let mut two = Two::new();
    let due = NOW + Duration::from_secs(7_200);
    let broken = two.bob.transaction(NOW, |work| {
        // Its number is lower, so that it comes first.
        work.tx.execute("INSERT INTO contacts (id, name, state, created_ms) VALUES (-5, 'Broken', 2, 0)", [])?;
        let broken = ContactId::new(-5);
        let root = || StreamSeed::random(&mut random::seeded([8; 32]));
        work.create_pair(broken, &root(), &root(), NOW)?;
        work.owe_receipt(broken, Uuid([1; 16]))?;
        Ok(broken)
    });
    let alice = two.bob.contact("Alice").unwrap().id;
    two.bob.transaction(NOW, |work| work.owe_receipt(alice, Uuid([2; 16]))).unwrap();
    two.bob.transaction(due, |work| work.send_due_receipts()).unwrap();
    let streams_of = |out: &Outgoing| streams::by_id(two.bob.store.connection(), out.stream).unwrap().contact;
    let to: Vec<_> =
        two.bob.outbox.values().filter(|out| out.kind == StreamKind::MessagesOut).map(streams_of).collect();
    assert_eq!(to, [Some(alice)]);
    let left: i64 =
        two.bob.store.connection().query_row("SELECT count(*) FROM receipts", [], |row| row.get(0)).unwrap();
    assert_eq!((left, broken.unwrap()), (0, ContactId::new(-5)), "none is tried for ever");
}

fn manifest(number: u8, size: u64, boxes: u32) -> crate::content::Message {
    let body = Body::Attachment(Manifest {
        root: StreamSeed::random(&mut random::seeded([number; 32])),
        boxes,
        size,
        sha256: [number; 32],
        name: format!("file {number}"),
        media_type: "application/octet-stream".into(),
    });
    crate::content::Message { uuid: Uuid([number; 16]), sent_at: NOW, body }
}

#[test]
fn a_contact_may_have_sixteen_files_open_and_the_next_is_shown_as_refused() {
    let mut two = Two::new();
    let alice = two.bob.contact("Alice").unwrap().id;
    for number in 0..17 {
        two.bob.transaction(NOW, |work| work.apply(alice, manifest(number, 5_000, 2))).unwrap();
    }
    let shown = history(&two.bob, messages::Direction::In);
    let open = shown.iter().filter(|one| one.message.state == State::Receiving).count();
    let read = streams::of_kinds(two.bob.store.connection(), &[StreamKind::FileIn]).unwrap().len();
    assert_eq!((shown.len(), open, read), (17, 16, 16));
    let refused = shown.last().unwrap();
    assert_eq!((refused.message.state, refused.message.kind), (State::Failed, Kind::File));
    assert!(refused.reason.as_ref().unwrap().contains("16 files"), "{:?}", refused.reason);
    // The same again changes nothing.
    two.bob.transaction(NOW, |work| work.apply(alice, manifest(16, 5_000, 2))).unwrap();
    assert_eq!(history(&two.bob, messages::Direction::In).len(), 17);
}

#[test]
fn a_file_of_an_impossible_shape_is_shown_as_failed() {
    let mut two = Two::new();
    let alice = two.bob.contact("Alice").unwrap().id;
    for (number, (size, boxes)) in [(5_000, 3), (MAX_FILE + 1, 1)].into_iter().enumerate() {
        two.bob.transaction(NOW, |work| work.apply(alice, manifest(number as u8, size, boxes))).unwrap();
        let shown = history(&two.bob, messages::Direction::In);
        let failed = shown.last().unwrap();
        assert_eq!((shown.len(), failed.message.state), (number + 1, State::Failed));
        assert!(failed.reason.is_some());
    }
}
