//! A bridge of the private network: a relay that no consensus lists, which clients know from a line that somebody gave them. It takes
//! plain connections, and those of obfs4.

use super::{Node, TorNet, free_addresses, launch, make, running, stop};
use crate::testnet::Result;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

/// Debian's.
const OBFS4: &str = "/usr/bin/obfs4proxy";
/// How long it may take until it can give a client the network's directory.
const READY: Duration = Duration::from_secs(120);
const NICKNAME: &str = "bridge0";

/// One that runs. Stops when it is dropped.
#[derive(Debug)]
pub struct Bridge {
    node: Node,
    obfs4: SocketAddr,
}

impl Bridge {
    pub(super) fn up(network: &TorNet) -> Result<Self> {
        if !Path::new(OBFS4).exists() {
            return Err(
                format!("{OBFS4} is not there: `make test-tor` installs it, or `apt-get install obfs4proxy`").into()
            );
        }
        let [or, dir, obfs4] = free_addresses()?;
        let folder = network.folder()?;
        let mut bridge = Self { node: make(folder, NICKNAME, or, dir, false)?, obfs4 };
        let torrc = network.torrc(&bridge.node)?;
        // Bridges give the directory through circuits alone.
        let torrc: String =
            torrc.lines().filter(|line| !line.starts_with("DirPort")).map(|line| format!("{line}\n")).collect();
        let torrc = format!(
            "{torrc}BridgeRelay 1\nPublishServerDescriptor 0\nExtORPort auto\nServerTransportPlugin obfs4 exec {OBFS4}\n\
             ServerTransportListenAddr obfs4 {obfs4}\n"
        );
        fs::write(bridge.node.folder.join("torrc"), torrc)?;
        bridge.node.pid = Some(launch(&bridge.node)?);
        bridge.wait_ready()?;
        Ok(bridge)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.node.folder.join("log")).unwrap_or_default()
    }

    fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            if self.log().contains("Bootstrapped 100%") && self.obfs4_line().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Err(format!("the bridge was not ready in time: {}", self.log()).into())
    }

    /// The line for plain connections.
    pub fn line(&self) -> String {
        format!("{} {}", self.node.or, self.node.rsa)
    }

    /// The line for obfs4.
    ///
    /// # Errors
    /// If the transport has not started.
    pub fn obfs4_line(&self) -> Result<String> {
        let told = fs::read_to_string(self.node.folder.join("pt_state/obfs4_bridgeline.txt"))?;
        let line = told.lines().find(|line| line.starts_with("Bridge obfs4"));
        let settings = line.and_then(|line| line.split_once("cert=")).ok_or("obfs4 told no certificate")?.1;
        Ok(format!("obfs4 {} {} cert={settings}", self.obfs4, self.node.rsa))
    }

    /// Where clients reach it by these lines.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.node.or, self.obfs4]
    }

    /// Ends it; its clients have no other way to the Tor network then.
    pub fn stop(&self) {
        stop(|| running(std::slice::from_ref(&self.node)));
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop();
    }
}
