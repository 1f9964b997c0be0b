//! Someone who uses the `veilpost` command: a home folder, a daemon, and what a terminal would show.

use crate::testnet::{Result, program};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use veilpost_client::{
    store::{KeySource, Passphrase, Store},
    transport::Transport,
};

/// A user with a home of their own. Their daemon is killed when this is dropped.
#[derive(Debug)]
pub struct Person {
    name: String,
    home: PathBuf,
    passphrase: PathBuf,
    daemon: Option<Child>,
    /// How far off this computer's clock is, in the words of `FAKETIME`.
    clock: Option<String>,
}

/// For [`Person::diagnosis`]: the engine's numbers, and why nothing is reached.
const LOG: &str = "info,veilpost_client::core=debug,veilpost_client::runtime=debug,veilpost_onion=debug,tor_hsclient=debug,\
                   tor_dirmgr::bridgedesc=debug,tor_guardmgr=info";
/// Lines of the log that a diagnosis shows.
const LOG_LINES: usize = 40;
/// Where Debian has it; `$LIB` is for the loader.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";
/// How long a daemon may take to start.
const START: Duration = Duration::from_secs(30);

impl Person {
    /// Makes an account in `folder/NAME` on the network of this file.
    ///
    /// # Errors
    /// What the command says.
    pub fn init(folder: &Path, name: &str, network: &Path) -> Result<Self> {
        Self::init_by(folder, name, network, Transport::Mixnet)
    }

    /// The same, for an account that reaches the network this way from the beginning.
    ///
    /// # Errors
    /// What the command says.
    pub fn init_by(folder: &Path, name: &str, network: &Path, transport: Transport) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let passphrase = folder.join(format!("{name}.passphrase"));
        fs::write(&passphrase, format!("correct horse battery {name}\n"))?;
        let person = Self { name: name.into(), home: folder.join(name), passphrase, daemon: None, clock: None };
        let network = network.display().to_string();
        person.json(&["init", "--network", &network, "--name", name, "--transport", transport.name()])?;
        Ok(person)
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("veilpost")?);
        if let Some(off) = &self.clock {
            // Waits last as long as ever; only the time of day is another.
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", off).env("DONT_FAKE_MONOTONIC", "1");
        }
        command.arg("--home").arg(&self.home).arg("--passphrase-file").arg(&self.passphrase).args(arguments);
        command.env("VEILPOST_LOG", LOG);
        command.env_remove("VEILPOST_HOME").stdin(Stdio::null());
        Ok(command)
    }

    /// Sets the clock of this person's computer off by so much, such as `+5h`, from the next command on. Needs Debian's
    /// `faketime`.
    pub fn set_clock_off(&mut self, by: &str) {
        self.clock = Some(by.to_owned());
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// If it does not come up within half a minute.
    pub fn start(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.join("daemon.log"))?;
        let child = self.command(&["daemon"])?.stdout(Stdio::null()).stderr(log).spawn()?;
        self.daemon = Some(child);
        let deadline = Instant::now() + START;
        while self.run(&["status"]).map_or(true, |output| !output.status.success()) {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.home.join("daemon.log")).unwrap_or_default();
                return Err(format!("{}'s daemon did not start: {log}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Chooses another way to the network.
    ///
    /// # Errors
    /// What the command says.
    pub fn change_to(&self, transport: Transport) -> Result<()> {
        let told = self.json(&["transport", transport.name(), "--yes"])?;
        let now = told.first().and_then(|told| told.get("transport")).and_then(Value::as_str);
        if now == Some(transport.name()) { Ok(()) } else { Err(format!("the transport is {now:?}").into()) }
    }

    /// Waits until the daemon is connected.
    ///
    /// # Errors
    /// If it is not within this time.
    pub fn wait_connected(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.is_connected()? {
            if Instant::now() > deadline {
                return Err(format!("{} is not connected within {within:?}\n{}", self.name, self.diagnosis()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// True if the daemon is connected now.
    ///
    /// # Errors
    /// What the command says.
    pub fn is_connected(&self) -> Result<bool> {
        let status = self.json(&["status"])?;
        Ok(status.first().is_some_and(|status| status.get("connected") == Some(&Value::Bool(true))))
    }

    /// Waits until a warning of `status` has these words.
    ///
    /// # Errors
    /// If none has within this time; what the command says.
    pub fn wait_warned(&self, words: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.json(&["status"])?;
            let told =
                status.first().and_then(|status| status.get("warnings")).map(ToString::to_string).unwrap_or_default();
            if told.contains(words) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} is not warned of {words:?}: {told}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The daemon's process.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Ends the daemon as the power button does.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Stops the daemon as a person does.
    ///
    /// # Errors
    /// What the command says.
    pub fn stop(&mut self) -> Result<()> {
        self.json(&["stop"])?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait()?;
        }
        Ok(())
    }

    /// The store, while no daemon has it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn store(&self) -> Result<Store> {
        let passphrase = Passphrase::new(fs::read(&self.passphrase)?).ok_or("no passphrase")?;
        Ok(Store::open(&self.home, &KeySource::Passphrase(passphrase))?)
    }

    /// Runs a command and gives all of its output.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    /// Runs a command with `--json` and gives its lines.
    ///
    /// # Errors
    /// What it says on standard error, if it does not succeed.
    pub fn json(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let all: Vec<&str> = std::iter::once("--json").chain(arguments.iter().copied()).collect();
        let output = self.run(&all)?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: veilpost {}: {}", self.name, arguments.join(" "), told.trim()).into());
        }
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Makes an invitation link.
    ///
    /// # Errors
    /// What the command says.
    pub fn invite(&self, name: &str) -> Result<String> {
        let lines = self.json(&["invite", "--name", name])?;
        let link = lines.first().and_then(|line| line.get("link")).and_then(Value::as_str);
        Ok(link.ok_or("invite printed no link")?.to_owned())
    }

    /// Opens a link and waits until the contact is there.
    ///
    /// # Errors
    /// What the command says, or that it took too long.
    pub fn accept(&self, link: &str, name: &str, within: Duration) -> Result<()> {
        self.json(&["accept", link, "--name", name])?;
        self.wait_contact(name, within)
    }

    /// Waits until one can write to a contact.
    ///
    /// # Errors
    /// That it took too long.
    pub fn wait_contact(&self, name: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let named = |line: &Value| line.get("name").and_then(Value::as_str) == Some(name);
            if self.json(&["contacts"])?.iter().any(named) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{} and {name} are not contacts after {within:?}", self.name).into())
    }

    /// Messages that came in, oldest first.
    ///
    /// # Errors
    /// What the command says.
    pub fn received(&self) -> Result<Vec<Value>> {
        let all = self.json(&["inbox"])?;
        Ok(all.into_iter().filter(|line| line.get("direction").and_then(Value::as_str) == Some("in")).collect())
    }

    /// Waits until `done` says so of the messages that came in.
    ///
    /// # Errors
    /// That it took too long.
    pub fn wait_received(&self, within: Duration, done: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let deadline = Instant::now() + within;
        loop {
            let received = self.received()?;
            if done(&received) {
                return Ok(received);
            }
            if Instant::now() > deadline {
                return Err(format!("{} received only {received:?} within {within:?}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Person {
    /// What they see when something did not come in time: status, messages that are not through, the log's last lines.
    pub fn diagnosis(&self) -> String {
        let shown = |lines: Result<Vec<Value>>| match lines {
            Ok(lines) => lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n  "),
            Err(error) => error.to_string(),
        };
        let state = |line: &Value| line.get("state").and_then(Value::as_str).map(str::to_owned);
        let through = |line: &Value| matches!(state(line).as_deref(), Some("delivered" | "received"));
        let open = self.json(&["inbox"]).map(|all| all.into_iter().filter(|line| !through(line)).collect());
        let log = fs::read_to_string(self.home.join("daemon.log")).unwrap_or_default();
        // The engine's numbers come twice a second: the newest will do.
        let (numbers, told): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("backlog"));
        let last: Vec<&str> =
            told.iter().skip(told.len().saturating_sub(LOG_LINES)).chain(numbers.last()).copied().collect();
        let dropped: Vec<&str> =
            log.lines().filter(|line| line.contains("dropped") || line.contains("ERROR")).collect();
        format!(
            "{}: status {}\n not through:\n  {}\n dropped and errors:\n  {}\n log:\n  {}",
            self.name,
            shown(self.json(&["status"])),
            shown(open),
            dropped.join("\n  "),
            last.join("\n  ")
        )
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.kill();
    }
}
