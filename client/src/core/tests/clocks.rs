//! When frames leave: by the clocks alone, whatever waits, and whatever the computer's clock does.

use super::{world, *};
use veilpost_packet::frame::RecordCutter;
use veilpost_pki::signed::sign_view;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// A client that is connected to an entry of a network with three mailboxes.
fn connected(now: Timestamp) -> Core {
    let mut core = core();
    let ids: Vec<_> = (0..3).map(|number| world::mailbox_secret(number).node_id()).collect();
    let document = world::document(2, &ids, &core.authorities);
    core.handle_document(now, &document.bytes()).unwrap();
    let session = core.new_session();
    core.handle_connected(now, &session, document.entries[0].id);
    core
}

/// Lets a client run for some time of its own clock; when its frames left.
fn run(core: &mut Core, from: Timestamp, time: Duration) -> Vec<Timestamp> {
    let (mut now, mut frames) = (from, Vec::new());
    while now < from + time {
        core.handle_timers(now);
        while let Some(job) = core.poll_job(now) {
            core.handle_built(job.run());
        }
        while core.poll_departure(now).is_some() {
            frames.push(now);
        }
        now = core.next_wake(now).max(now + Duration::from_millis(1));
    }
    frames
}

/// Within what Poisson gives: five standard deviations.
fn usual(frames: usize, time: Duration) -> bool {
    let expected = time.as_secs_f64() * Params::standard().rates(Profile::Standard).up();
    (frames as f64 - expected).abs() < 5.0 * expected.sqrt()
}

fn warned(core: &Core, now: Timestamp, words: &str) -> bool {
    core.status(now).unwrap().warnings.iter().any(|warning| warning.contains(words))
}

#[test]
fn frames_leave_at_the_same_times_whatever_waits() {
    let (mut idle, mut busy) = (connected(NOW), connected(NOW));
    for ticket in 0..20 {
        busy.invite(NOW, Some(&format!("contact {ticket}")), ticket).unwrap();
    }
    let frames = run(&mut idle, NOW, MINUTE * 15);
    assert!(usual(frames.len(), MINUTE * 15), "{}", frames.len());
    assert_eq!(frames, run(&mut busy, NOW, MINUTE * 15));
}

#[test]
fn a_clock_that_is_set_back_neither_stops_nor_hurries_anything_and_is_told() {
    for (back, words) in [(MINUTE * 5, "jumped back by 5 min"), (HOUR * 30, "jumped back by 30 h")] {
        let start = NOW + HOUR * 100;
        let mut core = connected(start);
        assert!(usual(run(&mut core, start, MINUTE * 10).len(), MINUTE * 10));
        let after = start + MINUTE * 10 - back;
        let frames = run(&mut core, after, MINUTE * 10);
        assert!(usual(frames.len(), MINUTE * 10), "{} frames", frames.len());
        let first = frames.iter().filter(|frame| **frame < after + MINUTE).count();
        assert!((20..100).contains(&first), "{first} frames in the first minute");
        assert!(warned(&core, after + MINUTE * 10, words));
        assert!(!warned(&core, after + HOUR * 2, "jumped"));
    }
}

#[test]
fn a_clock_that_is_set_ahead_makes_up_for_nothing_and_is_told() {
    let mut core = connected(NOW);
    run(&mut core, NOW, MINUTE * 10);
    let (before, after) = (NOW + MINUTE * 10, NOW + HOUR * 7);
    core.handle_clock_jump(ClockJump { before, after });
    let frames = run(&mut core, after, MINUTE * 10);
    assert!(usual(frames.len(), MINUTE * 10));
    assert!(frames.iter().filter(|frame| **frame < after + Duration::from_secs(10)).count() < 30);
    assert!(warned(&core, after + MINUTE * 10, "jumped ahead by 7 h"));
}

#[test]
fn a_machine_that_slept_is_not_warned_and_sends_no_burst() {
    let mut core = connected(NOW);
    run(&mut core, NOW, MINUTE);
    let woken = NOW + HOUR * 9;
    let frames = run(&mut core, woken, MINUTE * 10);
    assert!(usual(frames.len(), MINUTE * 10) && frames[0] > woken);
    assert!(!warned(&core, woken + MINUTE, "jumped"));
}

#[test]
fn what_waits_waits_no_longer_after_a_clock_was_set_back() {
    let start = NOW + HOUR * 100;
    let mut core = connected(start);
    core.invite(start, Some("Bob"), 1).unwrap();
    run(&mut core, start, MINUTE * 3);
    let next = |core: &Core| core.outbox.values().filter_map(|out| out.retry.next).min();
    let (now, due) = (start + MINUTE * 3, next(&core).unwrap());
    let jump = ClockJump { before: now, after: now - HOUR * 20 };
    core.handle_clock_jump(jump);
    assert_eq!(next(&core), Some(due - HOUR * 20));
}

#[test]
fn a_second_back_is_waited_for_and_more_is_a_clock_that_was_set() {
    let mut core = connected(NOW + HOUR);
    let now = NOW + HOUR;
    core.handle_timers(now);
    let due = |core: &Core| core.connection.as_ref().unwrap().clocks.as_ref().unwrap().next_wake();
    let before = due(&core);
    core.handle_timers(now - Duration::from_secs(1));
    assert_eq!(due(&core), before);
    core.handle_timers(now - Duration::from_secs(2));
    assert_eq!(due(&core), before - Duration::from_secs(2));
    assert!(!warned(&core, now, "jumped"), "two seconds are nothing to tell");
}

#[test]
fn a_metered_client_tells_its_entry_and_sends_a_quarter() {
    let mut core = connected(NOW);
    core.set_profile(Profile::Metered).unwrap();
    let status = core.status(NOW).unwrap();
    assert_eq!((status.profile, status.next_profile), (Profile::Standard, Some(Profile::Metered)));
    assert!(usual(run(&mut core, NOW, MINUTE * 20).len(), MINUTE * 20), "the connection goes on as it began");
    core.handle_disconnected();
    let session = core.new_session();
    assert_eq!(session.hello.profile, Profile::Metered);
    let (now, entry) = (NOW + MINUTE * 20, core.document().unwrap().entries[0].id);
    core.handle_connected(now, &session, entry);
    let status = core.status(now).unwrap();
    assert_eq!((status.profile, status.next_profile), (Profile::Metered, None));
    assert!(usual(run(&mut core, now, MINUTE * 80).len(), MINUTE * 20));
}

#[test]
fn a_profile_is_kept_and_a_file_takes_four_times_as_long_under_the_metered_one() {
    let mut core = connected(NOW);
    core.invite(NOW, Some("Bob"), 1).unwrap();
    let estimate = |core: &Core| core.estimate(messages::MessageId(1)).unwrap().unwrap();
    let standard = estimate(&core);
    core.handle_disconnected();
    core.set_profile(Profile::Metered).unwrap();
    let rates = |profile| Params::standard().rates(profile).put_gap();
    let longer = rates(Profile::Metered) - rates(Profile::Standard);
    let waiting = core.outbox.values().filter(|out| out.retry.is_fresh()).count() as u32;
    assert_eq!(estimate(&core), standard + longer * waiting);
    let (authorities, rng) = (core.authorities.clone(), random::seeded([1; 32]));
    let again = Core::new(NOW, core.into_store(), authorities, rng).unwrap();
    assert_eq!(again.status(NOW).unwrap().profile, Profile::Metered);
}

#[test]
fn a_document_with_rates_out_of_range_is_refused_and_the_person_is_told_which() {
    let mut core = connected(NOW);
    let good = core.document().unwrap().clone();
    let year = HOUR * 24 * 400;
    type Spoil = fn(&mut Params, Duration);
    let bad: [(&str, Spoil); 5] = [
        ("send_gap", |params, _| params.send_gap = Duration::ZERO),
        ("get_gap", |params, year| params.get_gap = year),
        ("downlink_gap", |params, _| params.downlink_gap = Duration::ZERO),
        ("downlink_gap", |params, _| params.downlink_gap = params.send_gap),
        ("metered", |params, _| params.metered = 0),
    ];
    for (name, spoil) in bad {
        let mut view = (*good).clone();
        view.epoch = veilpost_packet::time::Epoch(2);
        spoil(&mut view.params, year);
        let bytes = sign_view(&view, &[SigningSecret::from_seed(&[1; 32])]);
        let mut cutter = RecordCutter::default();
        cutter.push(bytes.into());
        while let Some(frame) = cutter.next_frame(FrameKind::Document) {
            core.handle_frame(NOW, &frame).unwrap();
        }
        let told = core.status(NOW).unwrap().warnings.join(" ");
        assert!(told.contains("document of the entry was refused") && told.contains(name), "{name}: {told}");
        assert_eq!(core.document().unwrap().hash(), good.hash());
    }
}
