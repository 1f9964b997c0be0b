//! A decrypted message: contacts are strangers too.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_client::content::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::decode(data) {
        let bytes = message.encode().expect("what was decoded keeps every bound");
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
});
