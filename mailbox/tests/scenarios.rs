//! What a mailbox answers, and what it keeps: each scenario over the store in memory and over sled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NETWORK, Rig, TODAY, is_stored, mail, mail_of};
use veilpost_mailbox::{
    engine::Limits,
    memory::MemoryStore,
    store::{BoxStore, TOMBSTONE_BYTES},
};
use veilpost_packet::{
    boxes::{BoxClass, SealedBox},
    command::{Answer, Command, HolderSignature},
    ids::District,
    primitives::Secret32,
    time::Day,
};

macro_rules! over_both_stores {
    ($($scenario:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[test] fn $scenario() { super::$scenario(&mut Rig::new(MemoryStore::default())); })*
        }
    };
}

over_both_stores!(
    a_new_box_is_stored_and_found_as_it_was_put,
    the_same_box_again_is_stored_and_nothing_is_written,
    another_content_under_the_id_is_a_conflict,
    a_later_expiry_renews_the_box_and_an_earlier_one_does_not_shorten_it,
    an_expiry_outside_the_range_is_refused_and_at_its_ends_accepted,
    what_is_not_there_is_absent,
    the_right_secret_deletes_a_box_and_a_wrong_one_does_not,
    a_tombstone_remembers_which_content_was_here,
    a_tombstone_is_kept_until_the_boxs_expiry,
    a_box_goes_after_its_expiry_day,
    a_full_quota_refuses_new_boxes_and_keeps_the_old,
    the_boxes_of_one_day_take_their_share_of_the_quota_and_no_more,
    tombstones_count_towards_the_quota,
    the_free_disk_floor_refuses_new_boxes_also_between_two_measurements,
    an_unknown_district_is_refused_for_every_command_but_a_loop,
    a_box_that_another_signed_is_refused,
    a_loop_comes_back,
    commands_of_one_batch_see_each_other,
    counters_tell_what_happened,
    everything_is_there_after_a_restart,
);

fn a_new_box_is_stored_and_found_as_it_was_put<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    let answer = rig.put(&mail.sealed);
    assert!(is_stored(&answer, &mail.sealed));
    let Answer::Stored([_, second]) = answer else { panic!("not stored") };
    assert_eq!(second, HolderSignature::NONE, "one disk, and it says so");
    assert_eq!(rig.get(mail.sealed.id), Answer::Found(Box::new(mail.sealed)));
    assert_eq!(rig.engine().usage().boxes, 1);
}

fn the_same_box_again_is_stored_and_nothing_is_written<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    rig.put(&mail.sealed);
    assert_eq!(rig.tags(), [mail.tag()]);
    assert!(is_stored(&rig.put(&mail.sealed), &mail.sealed));
    assert!(rig.tags().is_empty(), "a box is announced once");
    assert_eq!(rig.engine().usage().boxes, 1);
    assert_eq!(rig.engine().counters().stored, 1);
}

fn another_content_under_the_id_is_a_conflict<S: BoxStore>(rig: &mut Rig<S>) {
    let (first, second) = (mail(1), mail_of(1, b"another", BoxClass::Solo, TODAY + 15));
    assert_eq!(first.sealed.id, second.sealed.id);
    rig.put(&first.sealed);
    assert_eq!(rig.put(&second.sealed), Answer::Conflict);
    assert_eq!(rig.get(first.sealed.id), Answer::Found(Box::new(first.sealed)));
    let other_class = mail_of(1, b"content", BoxClass::Contested, TODAY + 15);
    assert_eq!(rig.put(&other_class.sealed), Answer::Conflict, "the class is part of the content hash");
}

fn a_later_expiry_renews_the_box_and_an_earlier_one_does_not_shorten_it<S: BoxStore>(rig: &mut Rig<S>) {
    let at = |expiry| mail_of(1, b"content", BoxClass::Solo, expiry).sealed;
    let (short, long) = (at(TODAY + 5), at(TODAY + 10));
    rig.put(&short);
    assert!(is_stored(&rig.put(&long), &long));
    assert_eq!(rig.get(long.id), Answer::Found(Box::new(long.clone())));
    assert!(is_stored(&rig.put(&short), &short), "it is kept at least that long");
    assert_eq!(rig.get(long.id), Answer::Found(Box::new(long.clone())));
    assert_eq!(rig.tags().len(), 1, "a renewal is not announced again");
    rig.days_pass(6);
    rig.tick().unwrap();
    assert_eq!(rig.get(long.id), Answer::Found(Box::new(long)), "the old expiry is forgotten");
    assert_eq!(rig.engine().usage().boxes, 1);
}

fn an_expiry_outside_the_range_is_refused_and_at_its_ends_accepted<S: BoxStore>(rig: &mut Rig<S>) {
    // And a day of slack for a writer whose clock is ahead at a day's border.
    let days = rig.params.box_days + 1;
    for (seed, expiry, accepted) in
        [(1, TODAY - 1, false), (2, TODAY, true), (3, TODAY + days, true), (4, TODAY + days + 1, false)]
    {
        let sealed = mail_of(seed, b"", BoxClass::Solo, expiry).sealed;
        let answer = rig.put(&sealed);
        assert_eq!(is_stored(&answer, &sealed), accepted, "day {expiry}: {answer:?}");
        assert_eq!(answer == Answer::Refused, !accepted);
    }
    let never = mail_of(5, b"", BoxClass::Solo, u32::MAX).sealed;
    assert_eq!(rig.put(&never), Answer::Refused);
}

fn what_is_not_there_is_absent<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    assert_eq!(rig.get(mail.sealed.id), Answer::Absent);
    assert_eq!(rig.ack(&mail, true), Answer::Absent);
    assert_eq!(rig.engine().usage().tombstones, 0, "an ack of nothing leaves nothing");
}

fn the_right_secret_deletes_a_box_and_a_wrong_one_does_not<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    rig.put(&mail.sealed);
    assert_eq!(rig.ack(&mail, false), Answer::Refused);
    assert_eq!(rig.get(mail.sealed.id), Answer::Found(Box::new(mail.sealed.clone())));
    assert_eq!(rig.ack(&mail, true), Answer::Gone);
    assert_eq!(rig.get(mail.sealed.id), Answer::Gone);
    assert_eq!(rig.ack(&mail, true), Answer::Gone);
    let usage = rig.engine().usage();
    assert_eq!((usage.boxes, usage.tombstones), (0, 1));
}

fn a_tombstone_remembers_which_content_was_here<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    rig.put(&mail.sealed);
    rig.ack(&mail, true);
    rig.tick().unwrap();
    assert!(is_stored(&rig.put(&mail.sealed), &mail.sealed), "a late copy is told that it arrived");
    assert_eq!(rig.get(mail.sealed.id), Answer::Gone, "and is not written");
    assert!(rig.tags().is_empty());
    let other = mail_of(1, b"another", BoxClass::Solo, TODAY + 15);
    assert_eq!(rig.put(&other.sealed), Answer::Conflict);
    assert_eq!(rig.engine().counters().stored, 1);
}

fn a_tombstone_is_kept_until_the_boxs_expiry<S: BoxStore>(rig: &mut Rig<S>) {
    for (seed, class) in [(1, BoxClass::Solo), (2, BoxClass::Contested)] {
        let first = mail_of(seed, b"first", class, TODAY + 5);
        rig.put(&first.sealed);
        rig.ack(&first, true);
    }
    rig.days_pass(5);
    rig.tick().unwrap();
    let second = mail_of(2, b"second", BoxClass::Contested, TODAY + 5);
    assert_eq!(rig.put(&second.sealed), Answer::Conflict, "who came second learns it as long as it can be put");
    let late = mail_of(1, b"first", BoxClass::Solo, TODAY + 5).sealed;
    assert!(is_stored(&rig.put(&late), &late), "a late copy does not bring it back");
    assert_eq!(rig.get(late.id), Answer::Gone);
    rig.days_pass(1);
    rig.tick().unwrap();
    assert_eq!(rig.get(late.id), Answer::Absent);
    assert_eq!(rig.engine().usage().tombstones, 0);
}

fn the_boxes_of_one_day_take_their_share_of_the_quota_and_no_more<S: BoxStore>(rig: &mut Rig<S>) {
    rig.limits.bucket_bytes = 2 * SealedBox::SIZE as u64;
    rig.restart();
    let of_day = |seed, day| mail_of(seed, b"", BoxClass::Solo, TODAY + day).sealed;
    for seed in [1, 2] {
        assert!(is_stored(&rig.put(&of_day(seed, 3)), &of_day(seed, 3)));
    }
    assert_eq!(rig.put(&of_day(3, 3)), Answer::Full);
    assert!(is_stored(&rig.put(&of_day(3, 4)), &of_day(3, 4)), "another day has room");
}

fn a_box_goes_after_its_expiry_day<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail_of(1, b"", BoxClass::Solo, TODAY + 2);
    rig.put(&mail.sealed);
    rig.days_pass(2);
    rig.tick().unwrap();
    assert!(matches!(rig.get(mail.sealed.id), Answer::Found(_)), "its last day is a day on which it is kept");
    rig.days_pass(1);
    rig.tick().unwrap();
    assert_eq!(rig.get(mail.sealed.id), Answer::Absent);
    assert_eq!(rig.engine().usage().bytes(), 0);
}

fn a_full_quota_refuses_new_boxes_and_keeps_the_old<S: BoxStore>(rig: &mut Rig<S>) {
    rig.limits = Limits { quota_bytes: 2 * SealedBox::SIZE as u64, bucket_bytes: u64::MAX, free_disk_floor: 0 };
    rig.restart();
    let mails = [mail(1), mail(2), mail(3)];
    assert!(is_stored(&rig.put(&mails[0].sealed), &mails[0].sealed));
    assert!(is_stored(&rig.put(&mails[1].sealed), &mails[1].sealed), "two fit exactly");
    assert_eq!(rig.put(&mails[2].sealed), Answer::Full);
    assert_eq!(rig.engine().counters().full, 1);
    let renewed = mail_of(1, b"content", BoxClass::Solo, TODAY + 15).sealed;
    assert!(is_stored(&rig.put(&renewed), &renewed), "what is here is not refused");
    for mail in &mails[..2] {
        assert!(matches!(rig.get(mail.sealed.id), Answer::Found(_)));
    }
    assert_eq!(rig.get(mails[2].sealed.id), Answer::Absent);
    assert_eq!(rig.tags().len(), 2);
}

fn tombstones_count_towards_the_quota<S: BoxStore>(rig: &mut Rig<S>) {
    let quota_bytes = SealedBox::SIZE as u64 + TOMBSTONE_BYTES - 1;
    rig.limits = Limits { quota_bytes, bucket_bytes: u64::MAX, free_disk_floor: 0 };
    rig.restart();
    let (first, second) = (mail(1), mail(2));
    rig.put(&first.sealed);
    assert_eq!(rig.ack(&first, true), Answer::Gone, "deleting needs no room");
    assert_eq!(rig.put(&second.sealed), Answer::Full);
    rig.limits.quota_bytes += 1;
    rig.restart();
    assert!(is_stored(&rig.put(&second.sealed), &second.sealed));
}

fn the_free_disk_floor_refuses_new_boxes_also_between_two_measurements<S: BoxStore>(rig: &mut Rig<S>) {
    rig.limits = Limits { quota_bytes: 1 << 30, bucket_bytes: u64::MAX, free_disk_floor: 10_000 };
    rig.restart();
    rig.engine().handle_free_disk(10_000 + 2 * SealedBox::SIZE as u64);
    assert!(is_stored(&rig.put(&mail(1).sealed), &mail(1).sealed));
    assert!(is_stored(&rig.put(&mail(2).sealed), &mail(2).sealed));
    assert_eq!(rig.put(&mail(3).sealed), Answer::Full);
    assert!(is_stored(&rig.put(&mail(1).sealed), &mail(1).sealed), "it is here already");
    rig.engine().handle_free_disk(10_000 + SealedBox::SIZE as u64 - 1);
    assert_eq!(rig.put(&mail(3).sealed), Answer::Full);
    rig.engine().handle_free_disk(u64::MAX);
    assert!(is_stored(&rig.put(&mail(3).sealed), &mail(3).sealed));
}

fn an_unknown_district_is_refused_for_every_command_but_a_loop<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    rig.put(&mail.sealed);
    let (id, district) = (mail.sealed.id, District(1));
    assert_eq!(rig.ask(Command::Get { id, district }), Answer::Refused);
    assert_eq!(rig.ask(Command::Ack { id, district, secret: mail.ack.clone() }), Answer::Refused);
    let terms = veilpost_packet::boxes::BoxTerms { district, class: BoxClass::Solo, expiry: Day(TODAY + 1) };
    let root = veilpost_packet::boxes::StreamRoot(Secret32::new([8; 32]));
    let elsewhere = root.write_cap().seal_next(&NETWORK, terms, b"").unwrap();
    assert_eq!(rig.put(&elsewhere), Answer::Refused);
    assert!(matches!(rig.get(id), Answer::Found(_)));
    assert_eq!(rig.engine().counters().refused, 3);
}

fn a_box_that_another_signed_is_refused<S: BoxStore>(rig: &mut Rig<S>) {
    let mut forged = mail(1).sealed;
    forged.ciphertext[0] ^= 1;
    assert_eq!(rig.put(&forged), Answer::Refused);
    let stolen = SealedBox { id: mail(2).sealed.id, ..mail(1).sealed };
    assert_eq!(rig.put(&stolen), Answer::Refused);
    let prolonged = SealedBox { expiry: Day(TODAY + 3), ..mail(1).sealed };
    assert_eq!(rig.put(&prolonged), Answer::Refused);
    assert_eq!(rig.engine().usage().boxes, 0);
}

fn a_loop_comes_back<S: BoxStore>(rig: &mut Rig<S>) {
    assert_eq!(rig.ask(Command::Loop), Answer::Looped);
    assert_eq!(rig.engine().counters().loops, 1);
    assert_eq!(rig.engine().waiting_replies(), 0);
}

fn commands_of_one_batch_see_each_other<S: BoxStore>(rig: &mut Rig<S>) {
    let (first, other) = (mail(1), mail_of(1, b"another", BoxClass::Solo, TODAY + 15));
    let (id, district) = (first.sealed.id, District(0));
    let answers = rig.ask_all(vec![
        Command::put(first.sealed.clone()),
        Command::put(other.sealed),
        Command::put(first.sealed.clone()),
        Command::Get { id, district },
        Command::Ack { id, district, secret: first.ack.clone() },
        Command::Get { id, district },
    ]);
    assert!(is_stored(&answers[0], &first.sealed) && is_stored(&answers[2], &first.sealed));
    assert_eq!(answers[1], Answer::Conflict);
    assert_eq!(answers[3], Answer::Found(Box::new(first.sealed)));
    assert_eq!((&answers[4], &answers[5]), (&Answer::Gone, &Answer::Gone));
    let usage = rig.engine().usage();
    assert_eq!((usage.boxes, usage.tombstones), (0, 1));
}

fn counters_tell_what_happened<S: BoxStore>(rig: &mut Rig<S>) {
    let mail = mail(1);
    rig.put(&mail.sealed);
    rig.get(mail.sealed.id);
    rig.get(common::mail(2).sealed.id);
    rig.ack(&mail, true);
    let counters = rig.engine().counters();
    assert_eq!((counters.stored, counters.found, counters.not_found, counters.acknowledged), (1, 1, 1, 1));
    assert_eq!(counters.store_failures, 0);
}

fn everything_is_there_after_a_restart<S: BoxStore>(rig: &mut Rig<S>) {
    let mails: Vec<_> = (0..20).map(mail).collect();
    mails.iter().for_each(|mail| assert!(is_stored(&rig.put(&mail.sealed), &mail.sealed)));
    rig.ack(&mails[0], true);
    rig.restart();
    assert_eq!(rig.get(mails[0].sealed.id), Answer::Gone);
    for mail in &mails[1..] {
        assert_eq!(rig.get(mail.sealed.id), Answer::Found(Box::new(mail.sealed.clone())));
    }
    let usage = rig.engine().usage();
    assert_eq!((usage.boxes, usage.tombstones), (19, 1));
}
