//! Bodies of stream frames, one after another: the first two bytes of each piece say how long it is.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::frame::RecordJoiner;

const RECORD_MAX: usize = 1_000;

fuzz_target!(|data: &[u8]| {
    let mut joiner = RecordJoiner::new(RECORD_MAX);
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let cut = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (body, tail) = tail.split_at(cut);
        rest = tail;
        if let Ok(records) = joiner.push(body) {
            assert!(records.iter().all(|record| record.len() <= RECORD_MAX));
        }
    }
});
