//! A network namespace that has only loopback: the kernel, not a configuration, keeps what runs in it at home.

use crate::testnet::{Result, Testnet};
use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// Says that [`enter`] has been here: once must be enough.
const ENTERED: &str = "VEILPOST_NAMESPACE";

/// The network devices of this process, loopback apart.
fn others() -> Result<Vec<String>> {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    let names = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Ok(names.filter(|name| name != "lo").collect())
}

/// Refuses to go on where anything but loopback could be reached.
///
/// # Errors
/// What to do.
pub fn require() -> Result<()> {
    let others = others()?;
    if others.is_empty() {
        return Ok(());
    }
    let others = others.join(", ");
    Err(format!(
        "a Tor network for tests runs only where nothing but loopback can be reached, and this process can use {others}: start it \
         with `make test-tor` or `make demo-tor`, or in a network namespace of its own: unshare --net -- sh -c 'ip link set lo up; …'"
    )
    .into())
}

/// Starts this program anew in a namespace of its own, with the same arguments; returns at once if it is in one.
///
/// # Errors
/// If no namespace can be made.
pub fn enter() -> Result<()> {
    if others()?.is_empty() {
        return Ok(());
    }
    if std::env::var_os(ENTERED).is_some() {
        return require();
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(program);
    command.args(std::env::args_os().skip(1)).env(ENTERED, "1");
    let error = command.exec();
    Err(format!("no network namespace can be made: `unshare` (util-linux): {error}").into())
}

/// Runs a program in the namespace of a network's first living process, in place of this one.
///
/// # Errors
/// If nothing of it runs, or the namespace is not to be entered.
pub fn exec_beside(network: &Testnet, command: &[OsString]) -> Result<()> {
    let pids = network.nodes().iter().filter_map(|node| network.pid(&node.name));
    let pid = pids.into_iter().next().ok_or("no process of this network runs")?;
    let error = Command::new("nsenter")
        .args(["--net", "--target", &pid.as_raw_nonzero().to_string(), "--"])
        .args(command)
        .stdin(Stdio::inherit())
        .exec();
    Err(format!("the network's namespace cannot be entered: `nsenter` (util-linux): {error}").into())
}
