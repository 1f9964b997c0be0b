//! What a Put has to pay before a mailbox looks at it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NETWORK, Rig, START, TODAY, is_stored, mail, mail_of, secret};
use veilpost_mailbox::{
    engine::{Limits, Request},
    memory::MemoryStore,
};
use veilpost_packet::{
    boxes::{BoxClass, SealedBox},
    command::{Answer, Command},
    geometry::{PUZZLE, TOKEN},
    ids::NodeId,
    puzzle::Effort,
    time::Day,
};
use veilpost_pki::PutAdmission;

/// Asks for effort 1 for the usual days.
fn paid() -> PutAdmission {
    let shared_random = [6; 32];
    PutAdmission { network: NETWORK, shared_random, effort: Effort(1), box_days: 15, day: Day(TODAY) }
}

fn rig() -> Rig<MemoryStore> {
    let mut rig = Rig::new(MemoryStore::default());
    rig.admission = paid();
    rig
}

fn put(sealed: &SealedBox, puzzle: [u8; PUZZLE]) -> Command {
    Command::Put { sealed: Box::new(sealed.clone()), puzzle, token: Box::new([0; TOKEN]) }
}

fn solved(admission: &PutAdmission, holder: &NodeId, sealed: &SealedBox) -> [u8; PUZZLE] {
    admission.puzzle(holder, &sealed.id, sealed.expiry).solve().unwrap()
}

#[test]
fn a_put_that_has_paid_is_stored_and_one_that_has_not_is_refused_and_counted() {
    let (mut rig, sealed) = (rig(), mail(1).sealed);
    assert_eq!(rig.ask(put(&sealed, [0; PUZZLE])), Answer::Refused);
    let counters = rig.engine().counters();
    assert_eq!((counters.bad_puzzle, counters.refused, rig.engine().usage().boxes), (1, 1, 0));
    let solution = solved(&paid(), &secret().node_id(), &sealed);
    assert!(is_stored(&rig.ask(put(&sealed, solution)), &sealed));
    assert_eq!(rig.engine().counters().bad_puzzle, 1);
}

#[test]
fn a_solution_sent_again_puts_the_same_box_again_and_no_other() {
    let (mut rig, sealed, other) = (rig(), mail(1).sealed, mail(2).sealed);
    let solution = solved(&paid(), &secret().node_id(), &sealed);
    assert!(is_stored(&rig.ask(put(&sealed, solution)), &sealed));
    assert!(is_stored(&rig.ask(put(&sealed, solution)), &sealed));
    assert_eq!(rig.ask(put(&other, solution)), Answer::Refused);
    assert_eq!(rig.engine().usage().boxes, 1);
}

#[test]
fn a_solution_for_another_mailbox_or_epoch_does_not_count() {
    let (mut rig, sealed) = (rig(), mail(1).sealed);
    let elsewhere = solved(&paid(), &NodeId([9; 32]), &sealed);
    let before = PutAdmission { shared_random: [5; 32], ..paid() };
    let before = solved(&before, &secret().node_id(), &sealed);
    assert_eq!(rig.ask(put(&sealed, elsewhere)), Answer::Refused);
    assert_eq!(rig.ask(put(&sealed, before)), Answer::Refused);
}

#[test]
fn renewing_is_paid_again() {
    let mut rig = rig();
    let first = mail_of(1, b"content", BoxClass::Solo, TODAY + 14).sealed;
    let renewed = mail_of(1, b"content", BoxClass::Solo, TODAY + 15).sealed;
    let solution = solved(&paid(), &secret().node_id(), &first);
    assert!(is_stored(&rig.ask(put(&first, solution)), &first));
    assert_eq!(rig.ask(put(&renewed, solution)), Answer::Refused);
    let solution = solved(&paid(), &secret().node_id(), &renewed);
    assert!(is_stored(&rig.ask(put(&renewed, solution)), &renewed));
}

#[test]
fn what_has_not_paid_costs_no_signature_check() {
    let mut sealed = mail(1).sealed;
    sealed.signature = [0; 64];
    let asked = |puzzle| Request::check(put(&sealed, puzzle), &paid(), &secret());
    assert!(matches!(asked([0; PUZZLE]), Request::BadPuzzle), "though its signature is bad too");
    let solution = solved(&paid(), &secret().node_id(), &sealed);
    assert!(matches!(asked(solution), Request::BadSignature));
}

#[test]
fn a_mailbox_reports_how_full_it_is_in_percent_of_its_quota_rounded_up() {
    let quota = 4 * SealedBox::SIZE as u64;
    let limits = Limits { quota_bytes: quota, bucket_bytes: quota, free_disk_floor: 1_000 };
    let mut rig = Rig::new(MemoryStore::default());
    rig.limits = limits;
    rig.restart();
    assert_eq!(rig.engine().fill(), 0);
    let fills = (0..4).map(|number| {
        rig.put(&mail(number).sealed);
        rig.engine().fill()
    });
    let filled: Vec<_> = fills.collect();
    assert!(filled[0] >= 25 && filled.is_sorted() && filled[3] <= 100, "{filled:?}");
    rig.days_pass(40);
    rig.tick().unwrap();
    assert_eq!(rig.engine().fill(), 0, "{:?} later", rig.now.since(START));
    rig.engine().handle_free_disk(1_000);
    assert_eq!(rig.engine().fill(), 100, "no room on the disk, whatever the quota");
}
