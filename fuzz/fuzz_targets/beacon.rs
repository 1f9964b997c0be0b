//! A contact's box of the day: contacts are strangers too. Its bundle is a field of its own, so the input starts from good bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use veilpost_client::{
    content::{
        Uuid,
        beacon::{Beacon, sealed_restart},
    },
    signal::Bundle,
};
use veilpost_fuzz::edited;

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    Beacon {
        restarted: 1,
        number: 2,
        base: 1_000,
        waiting: vec![3, 500, 1_020],
        heard: (1, 7),
        bundle: vec![9; Bundle::LEN],
        files: vec![(Uuid([5; 16]), 6); 3],
        successor: Some(vec![8; 100]),
    }
    .encode()
});

fuzz_target!(|data: &[u8]| {
    let _ = sealed_restart(data);
    for bytes in [data.to_vec(), edited(&GOOD, data)] {
        if let Ok(beacon) = Beacon::decode(&bytes) {
            assert_eq!(beacon.encode(), bytes);
        }
    }
});
