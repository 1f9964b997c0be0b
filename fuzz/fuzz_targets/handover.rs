//! A hand-over: as it is, and a good one with places that the input edits, before or after the authorities signed it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{authorities, authority, edited};
use veilpost_packet::{
    codec::{Reader, Writer},
    time::Epoch,
};
use veilpost_pki::signed::{Committee, Handover};

fn read(bytes: &[u8]) -> Option<Handover> {
    let mut reader = Reader::new(bytes);
    let handover = Handover::read(&mut reader).ok()?;
    assert_eq!(written(&handover), bytes[..bytes.len() - reader.remaining()]);
    Some(handover)
}

fn written(handover: &Handover) -> Vec<u8> {
    let mut writer = Writer::default();
    handover.write(&mut writer);
    writer.finish()
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let (set, _) = authorities();
    let [signers, moment, edits @ ..] = data else { return };
    let keys = [authority(0).authority_id(), authority(1).authority_id()];
    let to = Committee::new(&keys, 0).expect("two authorities of which none is hostile");
    let mut handover = Handover::new(Epoch(9), to);
    let by = || (0u8..4).filter(|n| signers & (1 << n) != 0);
    if moment % 2 == 0 {
        by().for_each(|n| handover.sign(set, authority(n)));
    }
    let Some(mut handover) = read(&edited(&written(&handover), edits)) else { return };
    if moment % 2 == 1 {
        by().for_each(|n| handover.sign(set, authority(n)));
    }
    let enough = handover.signers(set).count() >= set.threshold();
    let mut longer = set.clone();
    assert_eq!(longer.hand_over(handover.clone()).is_ok(), enough);
    assert!(!enough || longer.handovers()[0].is_same(&handover));
    // It says nothing to those it hands over to.
    assert!(longer.hand_over(handover).is_err());
});
