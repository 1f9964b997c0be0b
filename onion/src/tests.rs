#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use super::*;

#[test]
fn only_names_of_version_3_onion_services_are_dialed() {
    let name = format!("{}.onion", "a2".repeat(28));
    assert!(is_onion_address(&name));
    for other in ["", "example.com", ".onion", "a.onion", &name.to_uppercase(), &format!("www.{name}"), &"a".repeat(62)]
    {
        assert!(!is_onion_address(other), "{other}");
    }
}

#[cfg(not(feature = "tor"))]
#[test]
fn without_the_feature_a_program_says_so_and_what_to_do() {
    let setup = Setup { folder: PathBuf::new(), network: None, settings: None };
    let told = Tor::open(&setup).unwrap_err().to_string();
    assert!(told.contains("without Tor") && told.contains("--features"), "{told}");
    assert!(matches!(Tor::address(&setup, "name"), Err(TorError::NotBuilt)));
}

#[cfg(feature = "tor")]
mod with_tor {
    use super::*;
    use crate::{config, guard::Guarded};
    use arti_client::config::TorClientConfig;
    use std::{io::ErrorKind, net::SocketAddr, path::Path};
    use tor_linkspec::HasAddrs as _;
    use tor_rtcompat::{NetStreamProvider as _, PreferredRuntime};
    use veilpost_pki::network::{TorAuthority, TorFallback};

    fn fallbacks(config: &TorClientConfig) -> Vec<SocketAddr> {
        let all = config.dir_mgr_config().unwrap();
        all.fallbacks().iter().flat_map(|relay| relay.addrs().collect::<Vec<_>>()).collect()
    }

    fn network(relay: &str) -> TorNetwork {
        TorNetwork {
            loopback_only: true,
            authorities: vec![TorAuthority { v3ident: "AB".repeat(20), address: "127.0.0.1:1".parse().unwrap() }],
            fallbacks: vec![TorFallback {
                rsa: "CD".repeat(20),
                ed25519: "PV3dSmo+emuPLy/LW/6ZK5h+MKC9L8RR5U76Mjt05EE".into(),
                address: relay.parse().unwrap(),
            }],
        }
    }

    fn setup(folder: &Path, network: Option<TorNetwork>) -> Setup {
        Setup { folder: folder.join("tor"), network, settings: None }
    }

    #[tokio::test]
    async fn the_guard_refuses_every_relay_of_arti_s_own_list_and_lets_loopback_through() {
        let public = fallbacks(&TorClientConfig::default());
        assert!(public.len() > 100, "arti has a list of its own: {}", public.len());
        let guard = Guarded::new(PreferredRuntime::current().unwrap(), true);
        for address in public {
            let refused = guard.connect(&address, &Default::default()).await.err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{address}");
        }
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(guard.connect(&here.local_addr().unwrap(), &Default::default()).await.is_ok());
    }

    #[test]
    fn a_private_network_takes_the_place_of_the_public_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let config = config::arti(&setup(folder.path(), Some(network("127.0.0.1:9")))).unwrap();
        assert_eq!(fallbacks(&config), ["127.0.0.1:9".parse().unwrap()]);
        let away = config::arti(&setup(folder.path(), Some(network("192.0.2.1:9"))));
        assert!(matches!(away, Err(TorError::Settings(_))), "it must not leave this computer, and would");
        let none = config::arti(&setup(folder.path(), Some(TorNetwork::NONE)));
        assert!(matches!(none, Err(TorError::NoNetwork)), "no Tor network is not the public one");
    }

    #[test]
    fn settings_of_arti_s_own_are_read_and_cannot_lead_a_test_network_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tor.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Setup { settings: Some(path.clone()), ..setup(folder.path(), Some(network("127.0.0.1:9"))) }
        };
        let relay = "{ rsa_identity = \"CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD\", ed_identity = \
                     \"PV3dSmo+emuPLy/LW/6ZK5h+MKC9L8RR5U76Mjt05EE\", orports = [\"192.0.2.1:9\"] }";
        let config = config::arti(&with(&format!("[tor_network]\nfallback_caches = [{relay}]\n"))).unwrap();
        assert_eq!(fallbacks(&config), ["127.0.0.1:9".parse().unwrap()]);
        let bridge = |line: &str| format!("[bridges]\nbridges = \"{line} CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD\"\n");
        let by_process = "[[bridges.transports]]\nprotocols = [\"obfs4\"]\npath = \"/usr/bin/obfs4proxy\"\n";
        assert!(config::arti(&with(&bridge("127.0.0.1:9"))).is_ok());
        for away in [bridge("192.0.2.1:9"), bridge("obfs4 127.0.0.1:9") + by_process] {
            assert!(matches!(config::arti(&with(&away)), Err(TorError::Settings(_))), "{away}");
        }
        let public = Setup { network: None, ..with(&bridge("192.0.2.1:9")) };
        assert!(config::arti(&public).is_ok(), "bridges are for the public network");
        let obfs4 = Setup { network: None, ..with(&(bridge("obfs4 192.0.2.1:9") + by_process)) };
        assert!(config::arti(&obfs4).is_ok(), "and pluggable transports");
        assert!(matches!(config::arti(&with("= nothing")), Err(TorError::Settings(_))));
        for (misspelt, word) in
            [("[bridge]\nbridges = \"\"\n", "bridge"), ("[bridges]\nenable = true\n", "bridges.enable")]
        {
            let told = config::arti(&Setup { network: None, ..with(misspelt) }).unwrap_err().to_string();
            assert!(told.contains(&format!("`{word}`")), "not used without a word: {told}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_process_uses_a_folder_and_the_other_is_told_so_and_a_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(folder.path(), Some(network("127.0.0.1:9")));
        let address = Tor::address(&setup, "name").unwrap();
        assert!(is_onion_address(&address));
        assert_eq!(Tor::address(&setup, "name").unwrap(), address, "made once");
        let first = Tor::open(&setup).unwrap();
        let told = Tor::open(&setup).unwrap_err();
        assert!(matches!(told, TorError::Locked(_)) && told.to_string().contains("stop it first"), "{told}");
        assert!(matches!(first.connect("example.com").await, Err(TorError::Address)));
        drop(first);
        assert_eq!(Tor::address(&setup, "name").unwrap(), address, "and free again");
    }
}
