//! From a network file to arti's configuration.

use crate::{Setup, TorError};
use arti_client::config::{
    CfgPath, TorClientConfig, TorClientConfigBuilder,
    dir::{FallbackDir, FallbackDirBuilder},
};
use std::{fmt::Display, fs, net::SocketAddr, path::Path};
use tor_linkspec::{HasAddrs, HasChanMethod as _};
use tor_llcrypto::pk::{ed25519::Ed25519Identity, rsa::RsaIdentity};
use veilpost_pki::network::{TorFallback, TorNetwork};

/// Tries to fetch a service's descriptor, and to meet it.
const TRIES: u32 = 2;

fn wrong(error: impl std::fmt::Display) -> TorError {
    TorError::Settings(error.to_string())
}

/// arti's configuration for this setup.
///
/// # Errors
/// [`TorError::Settings`], [`TorError::NoNetwork`].
pub(crate) fn arti(setup: &Setup) -> Result<TorClientConfig, TorError> {
    let mut builder = match &setup.settings {
        Some(path) => settings(path)?,
        None => TorClientConfigBuilder::default(),
    };
    builder
        .storage()
        .cache_dir(CfgPath::new_literal(setup.folder.join("cache")))
        .state_dir(CfgPath::new_literal(setup.folder.join("state")));
    // Nothing leaves the Tor network: onion services are all that is dialed.
    builder.address_filter().allow_onion_addrs(true);
    // Each try takes two circuits, and whoever sends by a clock comes again anyway: more tries at a service that is down would only
    // keep circuits from those that are up.
    builder.circuit_timing().hs_desc_fetch_attempts(TRIES).hs_intro_rend_attempts(TRIES);
    if let Some(network) = &setup.network {
        private(&mut builder, network)?;
    }
    let config = builder.build().map_err(wrong)?;
    if setup.network.as_ref().is_some_and(|network| network.loopback_only) {
        stays_home(&config)?;
    }
    Ok(config)
}

/// What a person wrote. A word that arti does not know is refused: with `[bridge]` for `[bridges]` it would dial public relays at once.
fn settings(path: &Path) -> Result<TorClientConfigBuilder, TorError> {
    let named = |why: &dyn Display| wrong(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let mut unknown = Vec::new();
    let read = toml::Deserializer::parse(&text)
        .and_then(|toml| serde_ignored::deserialize(toml, |word| unknown.push(word.to_string())));
    // Its display shows the line, which may be a bridge's.
    let builder = read.map_err(|error: toml::de::Error| named(&error.message()))?;
    match unknown.first() {
        None => Ok(builder),
        Some(word) => Err(named(&format!("Tor knows no setting `{word}`"))),
    }
}

/// No relay that is not on this computer is left of arti's own list, and no bridge leads away from it: neither by its address, nor
/// through a pluggable transport, a process of its own that nothing here keeps at home.
fn stays_home(config: &TorClientConfig) -> Result<(), TorError> {
    let all = config.dir_mgr_config().map_err(wrong)?;
    let is_away = |address: SocketAddr| !address.ip().is_loopback();
    if all.fallbacks().iter().flat_map(HasAddrs::addrs).any(is_away) {
        return Err(wrong("the network file keeps Tor on this computer, and names relays that are not"));
    }
    if AsRef::<[_]>::as_ref(config)
        .iter()
        .any(|bridge| !bridge.chan_method().is_direct() || bridge.addrs().any(is_away))
    {
        return Err(wrong("the network file keeps Tor on this computer, and its bridges would lead away"));
    }
    Ok(())
}

/// A private network takes the place of the public one: its lists replace arti's own. Appending would dial public relays.
fn private(builder: &mut TorClientConfigBuilder, network: &TorNetwork) -> Result<(), TorError> {
    if network.authorities.is_empty() || network.fallbacks.is_empty() {
        return Err(TorError::NoNetwork);
    }
    let fallbacks = network.fallbacks.iter().map(fallback).collect::<Result<_, _>>()?;
    builder.tor_network().set_fallback_caches(fallbacks);
    let hex = |text: &str| RsaIdentity::from_hex(text).ok_or_else(|| wrong("a v3ident is not 40 hexadecimal digits"));
    let idents = network.authorities.iter().map(|authority| hex(&authority.v3ident)).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = network.authorities.iter().map(|authority| vec![authority.address]).collect();
    let authorities = builder.tor_network().authorities();
    authorities.set_v3idents(idents);
    authorities.set_uploads(addresses.clone());
    authorities.set_downloads(addresses.clone());
    authorities.set_votes(addresses);
    // All of its relays may be on one computer.
    builder.path_rules().ipv4_subnet_family_prefix(33).ipv6_subnet_family_prefix(129);
    if network.loopback_only {
        builder.storage().permissions().dangerously_trust_everyone();
    }
    Ok(())
}

fn fallback(relay: &TorFallback) -> Result<FallbackDirBuilder, TorError> {
    let rsa = RsaIdentity::from_hex(&relay.rsa).ok_or_else(|| wrong("a relay's rsa is not 40 hexadecimal digits"))?;
    let ed = Ed25519Identity::from_base64(&relay.ed25519).ok_or_else(|| wrong("a relay's ed25519 is not base64"))?;
    let mut builder = FallbackDir::builder();
    builder.rsa_identity(rsa).ed_identity(ed).orports().push(relay.address);
    Ok(builder)
}
