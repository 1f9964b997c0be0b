//! A link that somebody pastes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_client::invitation::Invitation;
use veilpost_packet::ids::NetworkId;

fuzz_target!(|link: &str| {
    let network = NetworkId([7; 32]);
    if let Ok(invitation) = Invitation::from_link(link, &network) {
        let again = Invitation::from_link(&invitation.to_link(&network), &network).expect("its own link parses");
        assert!(again == invitation);
    }
});
