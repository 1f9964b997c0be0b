//! What the kernel says about a process, and what its metrics say.

use crate::Result;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A program that we started; killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program and waits for its line `ready`.
    ///
    /// # Errors
    /// If it does not start or ends before it is ready.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take();
        let running = Self(child);
        let ready =
            out.is_some_and(|out| BufReader::new(out).lines().map_while(|line| line.ok()).any(|l| l == "ready"));
        if ready { Ok(running) } else { Err(format!("{:?} did not become ready", command.get_program()).into()) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of all threads so far, user and kernel, in clock ticks of usually 10 ms.
///
/// # Errors
/// If there is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name is in parentheses and may hold anything; the 12th and 13th field after it are utime and stime.
    let fields = stat.rsplit_once(')').ok_or("stat without a name")?.1;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Processor time of the calling thread so far.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time by the threads' names, without the numbers at their ends. Of living threads only.
///
/// # Errors
/// If there is no such process.
pub fn cpu_by_thread(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let mut times: BTreeMap<String, Duration> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = task?.path();
        // A thread may end between two looks.
        let (Ok(name), Ok(stat)) =
            (fs::read_to_string(folder.join("comm")), fs::read_to_string(folder.join("schedstat")))
        else {
            continue;
        };
        let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        let nanos = stat.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
        *times.entry(name.to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    Ok(times)
}

/// Resident memory in megabytes of a million bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("status without VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024.0 / 1e6)
}

/// The sum of a metric over its labels.
///
/// # Errors
/// If nobody answers.
pub fn metric(address: SocketAddr, metric: &str) -> Result<f64> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text)?;
    let value = |line: &str| {
        let (key, value) = line.rsplit_once(' ')?;
        (key.split('{').next()? == metric).then(|| value.parse::<f64>().ok()).flatten()
    };
    Ok(text.lines().filter_map(value).sum())
}

/// What kind of file system holds a folder: durability means nothing in memory.
pub fn file_system(folder: &std::path::Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(place).then(|| (place.len(), kind.to_owned()))
    });
    holding.max().map_or("unknown".into(), |(_, kind)| kind)
}
