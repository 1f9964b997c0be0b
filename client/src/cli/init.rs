//! `init`: an account in a home folder.

use super::{Context, error::CliError, home::read_bounded, os};
use crate::{
    api::types::{Profile, Transport},
    content::person_name,
    signal::create_account,
    store::{Store, StoreError, account, meta},
};
use serde::Serialize;
use std::path::Path;
use veilpost_pki::network::NetworkFile;

/// Bytes of a network file: 32 authorities and thousands of entries fit.
const NETWORK_FILE_MAX: u64 = 1024 * 1024;

/// What a new account begins with.
pub(super) struct Choices {
    pub(super) profile: Profile,
    pub(super) transport: Transport,
}

pub(super) fn run(
    context: &mut Context,
    network: &Path,
    name: Option<String>,
    Choices { profile, transport }: Choices,
) -> Result<(), CliError> {
    let name = person_name(&name.or_else(|| context.user.clone()).unwrap_or_default());
    if name.is_empty() {
        return Err(CliError::usage("your contacts need a name for you; give one with --name NAME"));
    }
    let unusable = |why: String| CliError::refused(format!("{} is not a network file: {why}", network.display()));
    let bytes = read_bounded(network, NETWORK_FILE_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text".into()))?;
    let file = NetworkFile::parse(&text).map_err(|error| unusable(one_line(&error.to_string())))?;
    reachable(&file, transport)?;
    let authorities = file.authority_set().map_err(|error| unusable(error.to_string()))?;

    let source = context.home.key_source()?;
    let (mut rng, dir) = (os::rng()?, &context.home.dir);
    let mut store = match Store::create(dir, &source, &mut rng) {
        // A creation that was interrupted in the middle is finished here.
        Err(StoreError::AlreadySetUp(folder)) => {
            let store = Store::open(dir, &source)?;
            if account::exists(store.connection())? {
                return Err(StoreError::AlreadySetUp(folder).into());
            }
            store
        }
        created => created?,
    };
    store.transaction(|tx| {
        meta::set(tx, meta::NETWORK_FILE, text.as_bytes())?;
        meta::set_profile(tx, profile.into())?;
        meta::set_transport(tx, transport)?;
        create_account(tx, &name, authorities.network(), os::now(), &mut rng)
    })?;

    if context.json {
        #[derive(Serialize)]
        struct Made<'a> {
            home: String,
            name: &'a str,
            network: &'a str,
            profile: Profile,
            transport: Transport,
        }
        let made = Made { home: dir.display().to_string(), name: &name, network: &file.name, profile, transport };
        return Ok(context.terminal.json(&made)?);
    }
    let dir = dir.display().to_string();
    context.terminal.line(&format!("Made the account of {name} on the network “{}” in {dir}.", file.name))?;
    if profile != Profile::default() {
        let line = format!("Its profile is {}. `veilpost profile` shows what that costs once it runs.", profile.name());
        context.terminal.line(&line)?;
    }
    if transport != Transport::default() {
        let line = format!("It reaches the network by {} and by nothing else.", transport.name());
        context.terminal.line(&line)?;
    }
    Ok(context.terminal.line("Start it with `veilpost daemon --background`.")?)
}

/// An account that could never connect is not made.
fn reachable(file: &NetworkFile, transport: Transport) -> Result<(), CliError> {
    let name = transport.name();
    if transport == Transport::Mixnet {
        return Ok(());
    }
    if !veilpost_onion::BUILT {
        return Err(CliError::refused(format!("{name}: {}", veilpost_onion::TorError::NotBuilt)));
    }
    if file.tor.as_ref().is_some_and(|tor| tor.authorities.is_empty()) {
        return Err(CliError::refused(format!("{name}: {}", veilpost_onion::TorError::NoNetwork)));
    }
    if file.entries.iter().all(|entry| entry.onion.is_none()) {
        return Err(CliError::refused(format!("{name}: no entry of the network file has an onion service")));
    }
    Ok(())
}

/// First and last line of an error of the TOML parser: those between quote the file, which might be the wrong one, and
/// secret.
fn one_line(error: &str) -> String {
    let mut lines = error.lines().filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first}: {last}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}
