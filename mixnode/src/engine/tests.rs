//! Scenarios in virtual time. Unwrapped packets are made up: the engine never looks inside.

use super::*;
use crate::testing::{EPOCH, id, identity, place, verified, view};
use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::{
    boxes::BoxTag,
    digest::{Digest, DigestHash},
    frame::{FrameKind, RecordJoiner},
    geometry::{DIGEST_MAX, DOCUMENT_MAX, PACKET},
    ids::{District, DocumentHash},
    profile::Profile,
    puzzle::{Effort, SessionAsk},
    random::seeded,
    sphinx::{ReplayTag, build, unwrap},
    time::Tick,
};
use veilpost_pki::Params;

const NOW: Timestamp = Timestamp::from_secs(2_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn engine_with(seed: u8, limits: Limits, tags: usize) -> Engine {
    let document = verified(&view(NOW, Params::standard()), NOW);
    let config = EngineConfig { id: id(seed), document, limits };
    Engine::new(config, TagKey::new([7; 32]), TagTable::new(tags), seeded([seed; 32])).unwrap()
}

fn document(engine: &Engine) -> &Document {
    engine.documents().newest().unwrap()
}

fn engine(seed: u8) -> Engine {
    engine_with(seed, Limits::default(), 10_000)
}

fn node(seed: u8) -> Origin {
    Origin::Node { id: id(seed), place: place(seed) }
}

fn packet(tag: u32, next: [u8; 32], delay: Duration) -> Unwrapped {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&tag.to_be_bytes());
    let packet = Packet::from_bytes(&[9; PACKET]).unwrap();
    Unwrapped::Forward { tag: ReplayTag(bytes), next, delay, packet }
}

fn to(tag: u32, seed: u8) -> Unwrapped {
    packet(tag, id(seed).0, SECOND)
}

fn session(number: u8) -> SessionAddress {
    SessionAddress([number; 32])
}

fn hello(engine: &Engine, number: u8) -> Hello {
    Hello::client(session(number), document(engine).hash())
}

fn open(engine: &mut Engine, number: u8) -> Result<SessionAddress, SessionRefused> {
    engine.open_session(NOW, &hello(engine, number))
}

/// What an entry asks of somebody whose hello has no solution.
fn asked(engine: &mut Engine, now: Timestamp, hello: &Hello) -> SessionAsk {
    match engine.open_session(now, hello) {
        Err(SessionRefused::Puzzle(ask)) => ask,
        other => panic!("nothing is asked: {other:?}"),
    }
}

fn solved(engine: &Engine, ask: SessionAsk, hello: Hello) -> Hello {
    let puzzle = ask.puzzle(&document(engine).network, &id(4), &hello.session.unwrap()).solve().unwrap();
    Hello { puzzle, ..hello }
}

type Forwards = Vec<(Timestamp, Forward)>;

/// Everything that leaves until `until`, with its time.
fn run(engine: &mut Engine, until: Timestamp) -> (Forwards, Vec<(SessionAddress, Frame)>) {
    let (mut forwards, mut frames) = (Vec::new(), Vec::new());
    let _written = engine.take_new_tags();
    while let Some(now) = engine.next_wake().filter(|wake| *wake <= until) {
        while let Some(forward) = engine.poll_forward(now) {
            forwards.push((now, forward));
        }
        while let Some(frame) = engine.poll_downlink(now) {
            frames.push(frame);
        }
    }
    (forwards, frames)
}

fn digest(mailbox: u8, tick: Tick, network: veilpost_packet::ids::NetworkId) -> SignedDigest {
    let digest = Digest {
        network,
        document: DocumentHash::default(),
        mailbox: id(mailbox),
        district: District(0),
        tick,
        previous: DigestHash::default(),
        tags: vec![BoxTag([tick.0 as u8; 6])],
    };
    digest.sign(&identity(mailbox))
}

fn tick_now(engine: &Engine) -> Tick {
    Tick::at(NOW, document(engine).params.tick)
}

#[test]
fn a_packet_leaves_for_its_next_node_after_its_delay_with_the_epochs_flags() {
    let mut mix = engine(2);
    mix.handle_unwrapped(NOW, EPOCH, node(1), to(1, 3)).unwrap();
    let (forwards, _) = run(&mut mix, NOW + SECOND * 10);
    let [(at, forward)] = &forwards[..] else { panic!("one packet leaves") };
    assert_eq!((*at, forward.to, forward.flags), (NOW + SECOND, id(3), Flags::for_epoch(EPOCH)));
}

#[test]
fn packets_leave_in_order_of_their_due_times() {
    let mut mix = engine(2);
    for (tag, delay) in [(1, 3), (2, 1), (3, 2)] {
        mix.handle_unwrapped(NOW, EPOCH, node(1), packet(tag, id(3).0, SECOND * delay)).unwrap();
    }
    let (forwards, _) = run(&mut mix, NOW + SECOND * 10);
    assert_eq!(forwards.iter().map(|(at, _)| at.since(NOW).as_secs()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn only_legal_transitions_are_admitted_at_every_node() {
    let seeds = [1, 2, 3, 4, 5, 11, 12, 13, 14, 15];
    for own in [1, 2, 3, 4] {
        for from in seeds {
            for next in seeds {
                let mut engine = engine(own);
                let legal = match (own, from % 10, next % 10) {
                    (1, 4 | 5, 2) | (2, 1, 3) | (3, 2, 4 | 5) => Ok(()),
                    (1, 4 | 5, _) | (2, 1, _) | (3, 2, _) => Err(DropReason::To),
                    // At an entry, only session addresses are legal next hops from layer 3.
                    (4, 3, _) => Err(DropReason::Session),
                    _ => Err(DropReason::From),
                };
                assert_eq!(
                    engine.handle_unwrapped(NOW, EPOCH, node(from), to(1, next)),
                    legal,
                    "{from} to {own} to {next}"
                );
            }
        }
    }
}

#[test]
fn a_client_reaches_layer_one_and_nothing_else() {
    let mut entry = engine(4);
    let client = Origin::Session(open(&mut entry, 200).unwrap());
    open(&mut entry, 201).unwrap();
    assert_eq!(entry.handle_unwrapped(NOW, EPOCH, client, to(1, 1)), Ok(()));
    for next in [2, 3, 4, 5, 14] {
        assert_eq!(entry.handle_unwrapped(NOW, EPOCH, client, to(2, next)), Err(DropReason::To), "{next}");
    }
    assert_eq!(entry.handle_unwrapped(NOW, EPOCH, client, packet(3, session(201).0, SECOND)), Err(DropReason::To));
    let stranger = Origin::Session(session(99));
    assert_eq!(entry.handle_unwrapped(NOW, EPOCH, stranger, to(4, 1)), Err(DropReason::From));
    assert_eq!(engine(1).handle_unwrapped(NOW, EPOCH, client, to(5, 2)), Err(DropReason::From));
}

#[test]
fn a_delay_above_thirty_means_is_dropped() {
    let mut mix = engine(2);
    let longest = document(&mix).params.max_delay();
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), packet(1, id(3).0, longest)), Ok(()));
    let more = longest + Duration::from_nanos(1);
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), packet(2, id(3).0, more)), Err(DropReason::Delay));
    assert_eq!(mix.dropped()[&DropReason::Delay], 1);
}

#[test]
fn a_delay_beyond_the_keys_life_is_dropped() {
    let mut mix = engine(2);
    let end = document(&mix).valid_until + document(&mix).params.key_grace;
    assert_eq!(mix.handle_unwrapped(end - SECOND, EPOCH, node(1), to(1, 3)), Ok(()));
    assert_eq!(mix.handle_unwrapped(end - SECOND / 2, EPOCH, node(1), to(2, 3)), Err(DropReason::KeyLife));
    assert_eq!(mix.handle_unwrapped(end, EPOCH, node(1), to(2, 3)), Err(DropReason::Epoch));
}

#[test]
fn a_route_that_ends_at_a_mix_or_entry_is_dropped() {
    let payload = {
        // Only an unwrap makes a payload, so a real packet whose last hop is mix 2.
        let hop =
            |seed| veilpost_packet::sphinx::Hop { address: id(seed).0, key: crate::testing::sphinx(seed).public() };
        let route = [hop(1), hop(1), hop(1), hop(1), hop(2)];
        let mut packet = build([1; 32], &route, &[SECOND; 4], b"loop").unwrap();
        for _ in 0..4 {
            let Ok(Unwrapped::Forward { packet: next, .. }) = unwrap(&crate::testing::sphinx(1), &packet) else {
                panic!("four hops forward");
            };
            packet = next;
        }
        unwrap(&crate::testing::sphinx(2), &packet).unwrap()
    };
    for (own, from) in [(2, 1), (4, 3)] {
        assert_eq!(engine(own).handle_unwrapped(NOW, EPOCH, node(from), payload.clone()), Err(DropReason::LastHop));
    }
}

#[test]
fn a_packet_that_comes_twice_leaves_once() {
    let mut mix = engine(2);
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(1, 3)), Ok(()));
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(1, 3)), Err(DropReason::Replay));
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(11), to(1, 13)), Err(DropReason::Replay));
    assert_eq!(run(&mut mix, NOW + SECOND * 10).0.len(), 1);
}

#[test]
fn a_full_replay_table_closes_the_node() {
    let mut mix = engine_with(2, Limits::default(), 3);
    for tag in 0..3 {
        assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(tag, 3)), Ok(()));
    }
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(3, 3)), Err(DropReason::ReplayFull));
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(0, 3)), Err(DropReason::Replay));
}

#[test]
fn a_full_delay_queue_drops_the_newest_without_remembering_its_tag() {
    let mut mix = engine_with(2, Limits { delayed: 2, ..Limits::default() }, 100);
    for tag in 0..2 {
        mix.handle_unwrapped(NOW, EPOCH, node(1), to(tag, 3)).unwrap();
    }
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(2, 3)), Err(DropReason::QueueFull));
    assert_eq!(mix.tags(), 2);
    run(&mut mix, NOW + SECOND);
    assert_eq!(mix.handle_unwrapped(NOW, EPOCH, node(1), to(2, 3)), Ok(()));
}

#[test]
fn nothing_leaves_before_its_tag_was_taken() {
    let mut mix = engine(2);
    mix.handle_unwrapped(NOW, EPOCH, node(1), packet(1, id(3).0, Duration::ZERO)).unwrap();
    assert_eq!(mix.poll_forward(NOW), None);
    assert_eq!(mix.take_new_tags().len(), 1);
    assert!(mix.poll_forward(NOW).is_some());
}

#[test]
fn a_restarted_engine_with_its_tags_refuses_what_it_forwarded() {
    let mut first = engine(2);
    first.handle_unwrapped(NOW, EPOCH, node(1), to(1, 3)).unwrap();
    let mut table = TagTable::new(100);
    for (epoch, tags) in first.take_new_tags() {
        assert_eq!(epoch, EPOCH);
        tags.into_iter().for_each(|tag| table.check_and_insert(tag).unwrap());
    }
    let config = EngineConfig { id: id(2), document: document(&first).clone(), limits: Limits::default() };
    let mut second = Engine::new(config, TagKey::new([7; 32]), table, seeded([1; 32])).unwrap();
    assert_eq!(second.handle_unwrapped(NOW, EPOCH, node(1), to(1, 3)), Err(DropReason::Replay));
    assert_eq!(second.handle_unwrapped(NOW, EPOCH, node(1), to(2, 3)), Ok(()));
}

#[test]
fn a_reply_reaches_its_session_on_the_downlinks_clock() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    entry.handle_unwrapped(NOW, EPOCH, node(3), packet(1, session(200).0, SECOND)).unwrap();
    let (forwards, frames) = run(&mut entry, NOW + SECOND * 10);
    assert!(forwards.is_empty());
    assert!(frames.iter().all(|(to, _)| *to == session(200)));
    assert_eq!(frames.iter().filter(|(_, frame)| frame.kind() == FrameKind::Packet).count(), 1);
    assert!(frames.iter().any(|(_, frame)| frame.kind() == FrameKind::Dummy));
}

#[test]
fn a_session_address_in_use_or_of_a_node_is_refused() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    assert_eq!(open(&mut entry, 200), Err(SessionRefused::InUse));
    let of_node = Hello::client(SessionAddress(id(2).0), DocumentHash::default());
    assert_eq!(entry.open_session(NOW, &of_node), Err(SessionRefused::NodeId));
    assert_eq!(entry.open_session(NOW, &Hello::node(DocumentHash::default())), Err(SessionRefused::NoAddress));
    assert_eq!(open(&mut engine(2), 200), Err(SessionRefused::NoEntry));
}

#[test]
fn an_ended_sessions_address_stays_taken_for_the_grace_period() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    entry.handle_unwrapped(NOW, EPOCH, node(3), packet(1, session(200).0, SECOND)).unwrap();
    entry.close_session(NOW, &session(200));
    assert_eq!(open(&mut entry, 200), Err(SessionRefused::InUse));
    assert_eq!(
        entry.handle_unwrapped(NOW, EPOCH, node(3), packet(2, session(200).0, SECOND)),
        Err(DropReason::Session)
    );
    assert!(run(&mut entry, NOW + SECOND * 10).1.is_empty());
    assert_eq!(entry.dropped()[&DropReason::Session], 2);
    let later = NOW + document(&entry).params.key_grace;
    assert!(entry.open_session(later, &Hello::client(session(200), DocumentHash::default())).is_ok());
}

#[test]
fn sessions_have_a_bound() {
    let mut entry = engine_with(4, Limits { sessions: 2, ..Limits::default() }, 10);
    open(&mut entry, 200).unwrap();
    open_by_work(&mut entry, 201).unwrap();
    assert_eq!(open(&mut entry, 202), Err(SessionRefused::TooMany));
    entry.close_session(NOW, &session(200));
    open_by_work(&mut entry, 202).unwrap();
}

fn open_by_work(entry: &mut Engine, number: u8) -> Result<SessionAddress, SessionRefused> {
    let hello = hello(entry, number);
    let ask = asked(entry, NOW, &hello);
    let paid = solved(entry, ask, hello);
    entry.open_session(NOW, &paid)
}

#[test]
fn a_full_entry_asks_newcomers_to_work_for_one_session_each_within_minutes() {
    let mut entry = engine_with(4, Limits { sessions: 4, ..Limits::default() }, 10);
    open(&mut entry, 200).unwrap();
    open(&mut entry, 201).unwrap();
    let late = hello(&entry, 202);
    let ask = asked(&mut entry, NOW, &late);
    assert_eq!(ask.effort, Effort(1));
    let paid = solved(&entry, ask, late);
    // Not another address, and not with another solution.
    let other = Hello { session: Some(session(203)), ..paid.clone() };
    asked(&mut entry, NOW, &other);
    asked(&mut entry, NOW, &Hello { puzzle: [1; 32], ..paid.clone() });
    // Good through the next seed's time, and no longer.
    let minutes = |count| NOW + SECOND * 60 * count;
    let next = asked(&mut entry, minutes(6), &other);
    assert_ne!(next.seed, ask.seed);
    asked(&mut entry, minutes(12), &paid);
    assert!(entry.open_session(minutes(12), &solved(&entry, next, other)).is_ok(), "solved before, within ten minutes");
    // The fuller, the harder: three of four now.
    assert_eq!(asked(&mut entry, minutes(12), &paid).effort, Effort(4));
    entry.close_session(NOW, &session(200));
    entry.close_session(NOW, &session(201));
    assert!(open(&mut entry, 204).is_ok(), "less than a half is free for all");
}

#[test]
fn a_client_without_the_document_gets_it_and_one_with_it_does_not() {
    let mut entry = engine(4);
    entry.open_session(NOW, &Hello::client(session(200), DocumentHash::default())).unwrap();
    open(&mut entry, 201).unwrap();
    let (_, frames) = run(&mut entry, NOW + SECOND * 20);
    let mut joiner = RecordJoiner::new(DOCUMENT_MAX);
    let mut records = Vec::new();
    for (to, frame) in frames.iter().filter(|(_, frame)| frame.kind() == FrameKind::Document) {
        assert_eq!(*to, session(200));
        records.extend(joiner.push(frame.body()).unwrap());
    }
    assert_eq!(records, [document(&entry).bytes().to_vec()]);
}

/// Frames of each session until then, at the times that the engine asks for.
fn frames_until(
    entry: &mut Engine,
    from: Timestamp,
    until: Timestamp,
) -> std::collections::BTreeMap<SessionAddress, u32> {
    let (mut now, mut counts) = (from, std::collections::BTreeMap::new());
    while now < until {
        while let Some((session, _)) = entry.poll_downlink(now) {
            *counts.entry(session).or_insert(0) += 1;
        }
        now = entry.next_wake().unwrap().max(now);
    }
    counts
}

#[test]
fn a_metered_clients_downlink_is_slower_by_what_it_does_not_ask_for() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    let metered = Hello { profile: Profile::Metered, ..hello(&entry, 201) };
    entry.open_session(NOW, &metered).unwrap();
    let params = Params::standard();
    let settled = NOW + params.catch_up + SECOND * 30;
    frames_until(&mut entry, NOW, settled);
    let counts = frames_until(&mut entry, settled, settled + SECOND * 10_000);
    for (number, profile) in [(200, Profile::Standard), (201, Profile::Metered)] {
        let expected = 10_000.0 * params.rates(profile).down();
        let found = f64::from(counts[&session(number)]);
        assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{profile:?}: {found} instead of {expected}");
    }
}

#[test]
fn an_entrys_clock_that_is_set_back_stops_no_downlink() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    let later = NOW + SECOND * 2_000;
    frames_until(&mut entry, NOW, later);
    for back in [SECOND * 90, SECOND * 1_900] {
        let count = frames_until(&mut entry, later - back, later - back + SECOND * 60)[&session(200)];
        // At 1/0.68 s, or 8 a second if the connection counts as young again.
        assert!((50..600).contains(&count), "{count}");
    }
}

#[test]
fn a_digest_goes_to_every_client_and_an_older_one_on_request() {
    let mut entry = engine(4);
    open(&mut entry, 200).unwrap();
    open(&mut entry, 201).unwrap();
    let (network, tick) = (document(&entry).network, tick_now(&entry));
    let old = digest(5, Tick(tick.0 - 100), network);
    let new = digest(5, tick, network);
    assert_eq!(entry.want_from(NOW, &id(5)).unwrap().first, Tick::at(NOW - SECOND * 86_400, SECOND * 4).0);
    for one in [&old, &new, &new] {
        entry.handle_digest(NOW, &id(5), one).unwrap();
    }
    assert_eq!(entry.want_from(NOW, &id(5)).unwrap().first, tick.next().0);
    entry.handle_want(&session(201), &Want::digests(id(5), old.digest().tick, 1));
    let (_, frames) = run(&mut entry, NOW + SECOND * 5);
    let received = |number| {
        let mut joiner = RecordJoiner::new(DIGEST_MAX);
        let of_session =
            frames.iter().filter(|(to, frame)| *to == session(number) && frame.kind() == FrameKind::Digest);
        of_session.flat_map(|(_, frame)| joiner.push(frame.body()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(received(200), [new.as_bytes().to_vec()]);
    assert_eq!(received(201), [new.as_bytes().to_vec(), old.as_bytes().to_vec()]);
}

#[test]
fn digests_of_others_of_odd_ticks_and_second_ones_are_refused() {
    let mut entry = engine(4);
    let (network, tick) = (document(&entry).network, tick_now(&entry));
    let good = digest(5, tick, network);
    assert_eq!(entry.handle_digest(NOW, &id(15), &good), Err(DigestRefused::NotOurs));
    assert_eq!(engine(2).handle_digest(NOW, &id(5), &good), Err(DigestRefused::NotOurs));
    let of_a_mix = digest(3, tick, network);
    assert_eq!(entry.handle_digest(NOW, &id(3), &of_a_mix), Err(DigestRefused::NotOurs));
    let elsewhere = digest(5, tick, veilpost_packet::ids::NetworkId([1; 32]));
    assert_eq!(entry.handle_digest(NOW, &id(5), &elsewhere), Err(DigestRefused::NotOurs));
    for odd in [tick.0 + 3, tick.0 - 21_601] {
        let odd = digest(5, Tick(odd), network);
        assert_eq!(entry.handle_digest(NOW, &id(5), &odd), Err(DigestRefused::Tick));
    }
    entry.handle_digest(NOW, &id(5), &good).unwrap();
    let second = Digest { previous: DigestHash([1; 32]), ..good.digest().clone() }.sign(&identity(5));
    assert_eq!(entry.handle_digest(NOW, &id(5), &second), Err(DigestRefused::Equivocation));
}

#[test]
fn cached_digests_have_a_bound_in_bytes_and_in_time() {
    let mut view = view(NOW, Params::standard());
    view.valid_until = NOW + SECOND * 200_000;
    let limits = Limits { digests: 0, ..Limits::default() };
    let config = EngineConfig { id: id(4), document: verified(&view, NOW), limits };
    let mut entry = Engine::new(config, TagKey::new([7; 32]), TagTable::new(10), seeded([4; 32])).unwrap();
    let (network, tick) = (document(&entry).network, tick_now(&entry));
    let one = digest(5, tick, network).as_bytes().len();
    let fit = DIGEST_MAX / one;
    for back in (0..fit as u32 + 50).rev() {
        entry.handle_digest(NOW, &id(5), &digest(5, Tick(tick.0 - back), network)).unwrap();
    }
    let all = Want::digests(id(5), Tick(0), u32::MAX);
    assert_eq!(entry.digests.range(&all).count(), fit);
    let a_day_later = NOW + SECOND * 86_400;
    let newest = Tick::at(a_day_later, SECOND * 4);
    entry.handle_digest(a_day_later, &id(5), &digest(5, newest, network)).unwrap();
    // The tick that is exactly a day old, and the new one.
    assert_eq!(entry.digests.range(&all).count(), 2);
}

#[test]
fn a_mailbox_has_no_engine_here() {
    let document = verified(&view(NOW, Params::standard()), NOW);
    for id in [id(5), NodeId([0; 32])] {
        let config = EngineConfig { id, document: document.clone(), limits: Limits::default() };
        assert!(Engine::new(config, TagKey::new([7; 32]), TagTable::new(10), seeded([1; 32])).is_none());
    }
}

mod epochs;
mod loops;
mod sets;

#[derive(Debug, Clone)]
enum Step {
    Packet { from: u8, next: u8, tag: u32, delay_ms: u64 },
    Open(u8),
    Close(u8),
    Want { session: u8, mailbox: u8, first: u32, count: u32 },
    Digest { mailbox: u8, back: u32 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..20, 0_u8..20, 0_u32..60, 0_u64..20_000)
            .prop_map(|(from, next, tag, delay_ms)| Step::Packet { from, next, tag, delay_ms }),
        2 => (0_u8..5).prop_map(Step::Open),
        1 => (0_u8..5).prop_map(Step::Close),
        1 => (0_u8..5, 0_u8..20, any::<u32>(), any::<u32>())
            .prop_map(|(session, mailbox, first, count)| Step::Want { session, mailbox, first, count }),
        1 => (0_u8..20, 0_u32..40).prop_map(|(mailbox, back)| Step::Digest { mailbox, back }),
        2 => (0_u64..5_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_nothing_panics_and_every_queue_keeps_its_bound(own in 1_u8..5, steps in steps()) {
        let limits = Limits { delayed: 10, sessions: 3, replies: 2, stream: 2_000, digests: 0, sets: 0 };
        let mut engine = engine_with(own, limits, 40);
        let mut now = NOW;
        let tick = tick_now(&engine);
        for step in steps {
            match step {
                Step::Packet { from, next, tag, delay_ms } => {
                    let origin = if from < 5 { Origin::Session(session(from)) } else { node(from) };
                    let next = if next < 5 { session(next).0 } else { id(next).0 };
                    let _ = engine.handle_unwrapped(now, EPOCH, origin, packet(tag, next, Duration::from_millis(delay_ms)));
                }
                Step::Open(number) => {
                    let _ = engine.open_session(now, &Hello::client(session(number), DocumentHash::default()));
                }
                Step::Close(number) => engine.close_session(now, &session(number)),
                Step::Want { session: number, mailbox, first, count } => {
                    engine.handle_want(&session(number), &Want::digests(id(mailbox), Tick(first), count));
                }
                Step::Digest { mailbox, back } => {
                    let digest = digest(mailbox, Tick(tick.0 - back), document(&engine).network);
                    let _ = engine.handle_digest(now, &id(mailbox), &digest);
                }
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(ms);
                    let _written = engine.take_new_tags();
                    while let Some(forward) = engine.poll_forward(now) {
                        let (to, _) = document(&engine).relay(&forward.to).unwrap();
                        prop_assert!(may_go(engine.place().unwrap(), to));
                    }
                    while engine.poll_downlink(now).is_some() {}
                    prop_assert!(engine.next_wake().is_none_or(|wake| wake > now));
                }
            }
            prop_assert!(engine.delayed() <= 10 && engine.sessions() <= 3 && engine.tags() <= 40);
            prop_assert!(engine.sessions.ended() <= 12);
        }
    }
}
