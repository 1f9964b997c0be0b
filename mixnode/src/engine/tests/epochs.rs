//! The boundary between epochs. `EPOCH` is in force at `NOW` and ends `HOUR` later; documents are valid for three epochs.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const GRACE: Duration = Duration::from_secs(600);

fn epoch(later: u64) -> Epoch {
    Epoch(EPOCH.0 + later)
}

fn start(later: u64) -> Timestamp {
    NOW + HOUR * later as u32
}

/// The document of the epoch `later` epochs behind [`EPOCH`].
fn document_of(later: u64, change: impl Fn(&mut veilpost_pki::View)) -> Document {
    let mut view = view(NOW, Params::standard());
    (view.epoch, view.valid_after, view.valid_until) = (epoch(later), start(later), start(later + 3));
    change(&mut view);
    verified(&view, start(later))
}

fn of(later: u64) -> Document {
    document_of(later, |_| {})
}

/// A node that knows these documents, with a fresh key of each epoch.
fn engine_of(seed: u8, documents: &[Document]) -> Engine {
    let mut engine = Engine::idle(id(seed), Limits::default(), seeded([seed; 32]));
    for document in documents {
        learn(&mut engine, document);
    }
    engine
}

/// A document becomes known, and its key is opened.
fn learn(engine: &mut Engine, document: &Document) -> bool {
    let mut documents = engine.documents().clone();
    documents.insert(NOW, document.clone()).unwrap();
    engine.handle_documents(documents);
    engine.open_epoch(document.epoch, TagKey::new([7; 32]), TagTable::new(100))
}

#[test]
fn a_packet_of_the_old_epoch_is_forwarded_within_grace_with_its_own_flags_and_dropped_after_it() {
    let mut mix = engine_of(2, &[of(0), of(1)]);
    let late = start(1) + GRACE - SECOND * 2;
    mix.handle_unwrapped(late, EPOCH, node(1), to(1, 3)).unwrap();
    mix.handle_unwrapped(late, epoch(1), node(1), to(2, 3)).unwrap();
    let (forwards, _) = run(&mut mix, late + SECOND * 5);
    let flags: Vec<_> = forwards.iter().map(|(_, forward)| forward.flags).collect();
    assert_eq!(flags, [Flags::for_epoch(EPOCH), Flags::for_epoch(epoch(1))]);
    let over = start(1) + GRACE;
    assert_eq!(mix.handle_unwrapped(over, EPOCH, node(1), to(3, 3)), Err(DropReason::Epoch));
    assert_eq!(mix.handle_unwrapped(over, epoch(1), node(1), to(4, 3)), Ok(()));
    assert_eq!(mix.dropped()[&DropReason::Epoch], 1);
}

#[test]
fn a_packet_that_waits_when_its_key_dies_still_leaves() {
    let mut mix = engine_of(2, &[of(0), of(1)]);
    let late = start(1) + GRACE - SECOND * 2;
    mix.handle_unwrapped(late, EPOCH, node(1), to(1, 3)).unwrap();
    let _on_disk = mix.take_new_tags();
    mix.close_epoch(EPOCH);
    assert_eq!(run(&mut mix, late + SECOND * 5).0.len(), 1);
    assert_eq!(mix.handle_unwrapped(late, EPOCH, node(1), to(2, 3)), Err(DropReason::Epoch));
}

#[test]
fn a_packet_of_the_next_epoch_is_taken_as_soon_as_its_document_is_known() {
    let mut mix = engine_of(2, &[of(0)]);
    let early = start(1) - HOUR / 2;
    assert_eq!(mix.handle_unwrapped(early, epoch(1), node(1), to(1, 3)), Err(DropReason::Epoch));
    assert!(learn(&mut mix, &of(1)));
    assert_eq!(mix.handle_unwrapped(early, epoch(1), node(1), to(1, 3)), Ok(()));
}

#[test]
fn after_failed_rounds_epochs_three_apart_are_live_together() {
    let late_zero = document_of(0, |view| view.valid_until = start(4));
    let mut mix = engine_of(2, &[late_zero, of(3)]);
    let mut tag = 0;
    for (at, later) in [(start(2), 0), (start(2), 3), (start(3) + SECOND, 0), (start(3) + SECOND, 3)] {
        tag += 1;
        assert_eq!(mix.handle_unwrapped(at, epoch(later), node(1), to(tag, 3)), Ok(()), "{later}");
    }
    assert_eq!(mix.handle_unwrapped(start(3), epoch(1), node(1), to(9, 3)), Err(DropReason::Epoch));
    assert_eq!(mix.live().collect::<Vec<_>>(), [EPOCH, epoch(3)]);
}

#[test]
fn every_epoch_remembers_its_own_packets_over_a_restart() {
    let mut first = engine_of(2, &[of(0), of(1)]);
    for later in [0, 1] {
        // One tag in two epochs is two packets.
        assert_eq!(first.handle_unwrapped(start(1), epoch(later), node(1), to(1, 3)), Ok(()));
        assert_eq!(first.handle_unwrapped(start(1), epoch(later), node(1), to(1, 3)), Err(DropReason::Replay));
    }
    let written = first.take_new_tags();
    let counts: Vec<_> = written.iter().map(|(epoch, tags)| (*epoch, tags.len())).collect();
    assert_eq!(counts, [(EPOCH, 1), (epoch(1), 1)]);
    let mut second = Engine::idle(id(2), Limits::default(), seeded([9; 32]));
    second.handle_documents(first.documents().clone());
    for (epoch, tags) in written {
        let mut table = TagTable::new(100);
        tags.into_iter().for_each(|tag| table.check_and_insert(tag).unwrap());
        assert!(second.open_epoch(epoch, TagKey::new([7; 32]), table));
        assert_eq!(second.handle_unwrapped(start(1), epoch, node(1), to(1, 3)), Err(DropReason::Replay));
    }
}

#[test]
fn a_packets_own_epoch_says_which_next_nodes_there_are() {
    // Mix 3 has left, 23 has come.
    let swap = |view: &mut veilpost_pki::View| {
        view.layers[2][0] = crate::testing::relay(23, None, veilpost_packet::ids::LinkKey([23; 32]));
    };
    let mut mix = engine_of(2, &[of(0), document_of(1, swap)]);
    let mut next = 0;
    for (later, seed, expected) in
        [(0, 3, Ok(())), (0, 23, Err(DropReason::To)), (1, 3, Err(DropReason::To)), (1, 23, Ok(())), (1, 13, Ok(()))]
    {
        next += 1;
        let got = mix.handle_unwrapped(start(1), epoch(later), node(1), to(next, seed));
        assert_eq!(got, expected, "to {seed} in epoch {later}");
    }
}

#[test]
fn a_node_without_a_place_in_a_document_takes_nothing_of_its_epoch() {
    let without = document_of(1, |view| drop(view.layers[1].remove(0)));
    let mut mix = engine_of(2, &[of(0)]);
    assert!(!learn(&mut mix, &without));
    assert_eq!(mix.handle_unwrapped(start(1), epoch(1), node(1), to(1, 3)), Err(DropReason::Epoch));
    assert_eq!(mix.handle_unwrapped(start(1), EPOCH, node(1), to(1, 3)), Ok(()));
}

/// Documents that a session is sent, in order.
fn received(frames: &[(SessionAddress, Frame)], number: u8) -> Vec<u64> {
    let mut joiner = RecordJoiner::new(DOCUMENT_MAX);
    let known: Vec<_> = (0..3).map(|later| (later, of(later).bytes())).collect();
    let mine = frames.iter().filter(|(to, frame)| *to == session(number) && frame.kind() == FrameKind::Document);
    let records = mine.flat_map(|(_, frame)| joiner.push(frame.body()).unwrap());
    records.map(|record| known.iter().find(|(_, bytes)| **bytes == *record).unwrap().0).collect()
}

#[test]
fn sessions_live_on_and_get_each_document_once_as_soon_as_it_is_known() {
    let mut entry = engine_of(4, &[of(0)]);
    let hello = |number: u8, document| Hello::client(session(number), document);
    entry.open_session(NOW, &hello(200, DocumentHash::default())).unwrap();
    let half = NOW + HOUR / 2;
    let (_, mut frames) = run(&mut entry, half);
    assert_eq!(received(&frames, 200), [0]);
    assert!(learn(&mut entry, &of(1)));
    for (number, knows) in [(201, DocumentHash::default()), (202, of(0).hash()), (203, of(1).hash())] {
        entry.open_session(half, &hello(number, knows)).unwrap();
    }
    frames.extend(run(&mut entry, start(1) - SECOND).1);
    let received = [200, 201, 202, 203].map(|number| received(&frames, number));
    assert_eq!(received, [vec![0, 1], vec![0, 1], vec![1], vec![]]);
    // Packets of both epochs come from the session that began in the first, and replies of both reach it.
    let client = Origin::Session(session(200));
    for (later, tag) in [(0, 1), (1, 2)] {
        assert_eq!(entry.handle_unwrapped(start(1), epoch(later), client, to(tag, 1)), Ok(()));
        let reply = packet(tag + 10, session(200).0, SECOND * tag);
        assert_eq!(entry.handle_unwrapped(start(1), epoch(later), node(3), reply), Ok(()));
    }
    let (forwards, frames) = run(&mut entry, start(1) + SECOND * 60);
    assert_eq!(forwards.len(), 2);
    let replies = frames.iter().filter(|(_, frame)| frame.kind() == FrameKind::Packet);
    let flags: Vec<_> = replies.map(|(_, frame)| frame.flags()).collect();
    assert_eq!(flags, [0, 1].map(|later| Flags::for_epoch(epoch(later))));
}

#[test]
fn an_entry_that_the_document_in_force_does_not_list_opens_no_session() {
    let without = document_of(1, |view| drop(view.entries.remove(0)));
    let mut entry = engine_of(4, &[of(0), without]);
    assert!(entry.open_session(start(1) - SECOND, &Hello::client(session(200), DocumentHash::default())).is_ok());
    let refused = entry.open_session(start(1), &Hello::client(session(201), DocumentHash::default()));
    assert_eq!(refused, Err(SessionRefused::NoEntry));
}

#[test]
fn downlinks_follow_the_rates_of_the_document_in_force() {
    let slow = document_of(1, |view| {
        view.params.downlink_gap = SECOND * 2;
        (view.params.send_gap, view.params.get_gap, view.params.loop_gap) = (SECOND * 10, SECOND * 10, SECOND * 30);
    });
    let mut entry = engine_of(4, &[of(0), slow]);
    entry.open_session(NOW, &Hello::client(session(200), of(0).hash())).unwrap();
    run(&mut entry, start(1) - SECOND * 1_000);
    let before = run(&mut entry, start(1)).1.len() as f64;
    let after = run(&mut entry, start(1) + SECOND * 1_000).1.len() as f64;
    assert!((before - 1_000.0 / 0.68).abs() < 200.0 && (after - 500.0).abs() < 120.0, "{before} {after}");
}

#[test]
fn digests_stay_over_a_change_of_document_and_those_of_any_live_document_are_taken() {
    let without = document_of(1, |view| {
        let gone = view.mailboxes.remove(0);
        view.placements[0].mailboxes.retain(|id| *id != gone.id);
    });
    let mut entry = engine_of(4, &[of(0)]);
    let network = of(0).network;
    let tick = |at| Tick::at(at, SECOND * 4);
    entry.handle_digest(NOW, &id(15), &digest(15, tick(NOW), network)).unwrap();
    learn(&mut entry, &without);
    let within = start(1) + SECOND;
    assert_eq!(entry.want_from(within, &id(15)).unwrap().first, tick(NOW).next().0);
    assert_eq!(entry.handle_digest(within, &id(5), &digest(5, tick(within), network)), Ok(()));
    let over = start(1) + GRACE;
    let refused = entry.handle_digest(over, &id(5), &digest(5, tick(over), network));
    assert_eq!(refused, Err(DigestRefused::NotOurs));
    entry.handle_digest(over, &id(15), &digest(15, tick(over), network)).unwrap();
}

#[test]
fn a_table_that_was_full_takes_more_when_a_round_failed() {
    let mut mix = engine_of(2, &[of(0)]);
    for tag in 0..100 {
        mix.handle_unwrapped(NOW, EPOCH, node(1), to(tag, 3)).unwrap();
    }
    assert_eq!(mix.handle_unwrapped(start(1), EPOCH, node(1), to(100, 3)), Err(DropReason::ReplayFull));
    mix.raise_tags_max(EPOCH, 101);
    assert_eq!(mix.handle_unwrapped(start(1), EPOCH, node(1), to(100, 3)), Ok(()));
    assert_eq!(mix.handle_unwrapped(start(1), EPOCH, node(1), to(101, 3)), Err(DropReason::ReplayFull));
}
