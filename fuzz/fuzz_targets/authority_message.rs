//! A message between authorities: as it is, and with statements that the input's choice of authorities signed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{authority, edited, statement};
use veilpost_pki::{statement::EquivocationProof, wire::Message};

fn reads_as_it_stands(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    reads_as_it_stands(data);
    let [form, author, kind, rest @ ..] = data else { return };
    let signed = statement(*author, *kind, [*form; 32]);
    let message = match form % 3 {
        0 => Message::Statement(signed, rest.into()),
        1 => {
            let by = rest.iter().take(usize::from(author / 4) % 40);
            Message::Relay(signed, by.map(|n| signed.countersign(authority(*n))).collect())
        }
        _ => {
            let other = statement(*author, *kind, [form.wrapping_add(1); 32]);
            Message::Proofs(EquivocationProof::new(signed, other).into_iter().collect())
        }
    };
    let bytes = message.encode();
    reads_as_it_stands(&bytes);
    reads_as_it_stands(&edited(&bytes, rest));
});
