//! The room of a client puzzle: no bytes panic the verifier, and none but the solver's are a solution.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{
    codec::Reader,
    puzzle::{Challenge, Effort, Puzzle},
};

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    let (Ok(challenge), Ok(effort), Ok(room)) = (reader.array(), reader.u32(), reader.array()) else { return };
    let good = Puzzle { challenge: Challenge(challenge), effort: Effort(effort) }.verify(&room);
    if good && effort > 0 {
        let easier = Puzzle { challenge: Challenge(challenge), effort: Effort(1) };
        assert!(easier.verify(&room), "good for much, but not for little");
    }
});
