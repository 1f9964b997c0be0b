//! The plaintext of a packet at a mailbox.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{
    command::Command,
    geometry::{FRAME_BODY, PLAINTEXT, SURB},
    ids::NetworkId,
    time::Epoch,
};

fuzz_target!(|data: &[u8]| {
    let _ = Command::decode(data);
    if data.len() <= FRAME_BODY
        && let Ok(command) = Command::from_body(data)
    {
        assert_eq!(command.to_frame(Epoch(1)).body().get(..data.len()), Some(data));
    }
    // The input as the command behind a SURB, padded as every command is.
    let mut whole = vec![1; SURB];
    whole.extend_from_slice(data);
    whole.resize(PLAINTEXT.max(whole.len()), 0);
    if let Ok((surb, command)) = Command::decode(&whole) {
        assert_eq!(command.encode(&surb), whole);
        if let Command::Put { sealed, .. } = command {
            let _ = sealed.verify(&NetworkId([1; 32]));
        }
    }
});
