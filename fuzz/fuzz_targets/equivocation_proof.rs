//! Proof of a lie: as it is, and two statements that the input chose, signed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{edited, statement};
use veilpost_packet::codec::{Reader, Writer};
use veilpost_pki::statement::EquivocationProof;

fn reads_as_it_stands(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let Ok(proof) = EquivocationProof::read(&mut reader) else { return false };
    let mut writer = Writer::default();
    proof.write(&mut writer);
    assert_eq!(writer.finish(), bytes[..bytes.len() - reader.remaining()]);
    true
}

fuzz_target!(|data: &[u8]| {
    reads_as_it_stands(data);
    let [one, kind, digest, other, of, another, rest @ ..] = data else { return };
    let pair = [statement(*one, *kind, [*digest; 32]), statement(*other, *of, [*another; 32])];
    let mut writer = Writer::default();
    pair.iter().for_each(|signed| signed.write(&mut writer));
    let bytes = writer.finish();
    let contradicts = one % 4 == other % 4 && kind % 3 == of % 3 && digest < another;
    assert_eq!(reads_as_it_stands(&bytes), contradicts);
    reads_as_it_stands(&edited(&bytes, rest));
});
