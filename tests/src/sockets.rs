//! Whom a process has TCP connections to, as the kernel knows it.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
};

/// The far ends of a process's TCP connections over IPv4 now, those that are being opened included. Empty if it does not run.
pub fn peers(pid: u32) -> BTreeSet<SocketAddr> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let own = inodes(pid);
    let far_end = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let (address, inode) = (address(fields.next()?)?, fields.nth(6)?);
        own.contains(inode).then_some(address)
    };
    // A socket that listens has none: all zeros.
    table.lines().skip(1).filter_map(far_end).filter(|address| address.port() != 0).collect()
}

/// The same of a process and of those that it started itself.
pub fn family_peers(pid: u32) -> BTreeSet<SocketAddr> {
    std::iter::once(pid).chain(children(pid)).flat_map(peers).collect()
}

/// The processes that one started and that still run.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The numbers of a process's sockets.
fn inodes(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// As the kernel writes it: four bytes in this computer's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some((ip, u16::from_str_radix(port, 16).ok()?).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_is_seen_and_a_listener_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert!(!peers(std::process::id()).contains(&here));
        let connection = TcpStream::connect(here).unwrap();
        assert!(peers(std::process::id()).contains(&here));
        drop(connection);
    }

    #[test]
    fn a_process_that_this_one_started_is_of_its_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()), "{found:?}");
    }
}
