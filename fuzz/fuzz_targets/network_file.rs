//! The file that a person got from somewhere.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_pki::NetworkFile;

fuzz_target!(|text: &str| {
    if let Ok(file) = NetworkFile::parse(text) {
        let threshold = file.authority_set().expect("parsing checks the authorities").threshold();
        assert!(threshold <= file.authorities.len() + file.faulty);
        assert_eq!(NetworkFile::parse(&file.to_text()).expect("its own text parses"), file);
    }
});
