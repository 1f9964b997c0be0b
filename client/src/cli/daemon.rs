//! `daemon` and `stop`.

use super::{
    Context,
    error::{CliError, Exit},
    logs,
};
use crate::{
    api::client::ClientError,
    handle::{self, StartCore},
    store::{Store, StoreError, account},
};
use serde::Serialize;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long the core may take to write everything down.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How long `daemon --background` waits for `ready`.
const START_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

/// Runs until it is stopped.
pub(super) fn run(context: &mut Context, start: StartCore) -> Result<(), CliError> {
    logs::start(context.log.as_deref());
    // Before the runtime: the keychain and Argon2id block.
    let store = Store::open(&context.home.dir, &context.home.key_source()?)?;
    if !account::exists(store.connection())? {
        return Err(CliError::refused("making this account was interrupted; run `veilpost init` again"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::refused(format!("cannot start: {error}")))?;
    runtime.block_on(serve(context, store, start))
}

async fn serve(context: &mut Context, store: Store, start: StartCore) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| CliError::refused(format!("cannot open the daemon's socket: {error}"));
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(cannot)?, signal(SignalKind::terminate()).map_err(cannot)?);
    let listening = context.home.sockets().bind().map_err(cannot)?;
    let (shell, end) = handle::channel();
    let mut core = tokio::spawn(start(store, end));
    let (ended, told) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(listening.serve(shell.clone(), async {
        let _ = told.await;
    }));
    // An answer of the core, so that who reads `ready` can go on at once.
    if shell.status().await.is_ok() {
        if context.json {
            context.terminal.json(&Ready { ready: true })?;
        } else {
            context.terminal.line("ready")?;
        }
    }
    let result = tokio::select! {
        result = &mut core => result,
        _ = async { tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} } } => {
            let _ = tokio::time::timeout(STOP_DEADLINE, shell.stop()).await;
            match tokio::time::timeout(STOP_DEADLINE, &mut core).await {
                Ok(result) => result,
                // Killing it loses nothing: everything that counts is committed.
                Err(_) => Ok(Ok(())),
            }
        }
    };
    drop(ended);
    let _ = server.await;
    match result {
        Ok(result) => Ok(result?),
        Err(_) => Err(CliError::refused("the daemon ended by a fault of its own; its log says more")),
    }
}

/// Starts another process of this program as the daemon and returns when it is ready.
pub(super) fn spawn(context: &mut Context) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| CliError::refused(format!("cannot start the daemon: {error}"));
    // Asked here too, so that a missing account or a wrong file is told by this process.
    Store::key_kind(&context.home.dir)?;
    context.home.key_source()?;
    // Asked before its log is truncated.
    if std::os::unix::net::UnixStream::connect(context.home.sockets().socket()).is_ok() {
        return Err(StoreError::InUse(context.home.dir.clone()).into());
    }
    let log = context.home.dir.join("daemon.log");
    let log_file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&log);
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    command.arg("--home").arg(&context.home.dir);
    if let Some(file) = &context.home.passphrase_file {
        command.arg("--passphrase-file").arg(std::path::absolute(file).map_err(cannot)?);
    }
    let command = command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::piped());
    // A group of its own, so that Ctrl-C in this terminal is not for it.
    let child = command.stderr(log_file.map_err(cannot)?).process_group(0).spawn();
    let mut child = child.map_err(cannot)?;
    let (tell, told) = mpsc::sync_channel(1);
    if let Some(out) = child.stdout.take() {
        // Ends with the first line or with the child.
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = tell.send(line.trim() == "ready");
        });
    }
    match told.recv_timeout(START_DEADLINE) {
        Ok(true) if context.json => Ok(context.terminal.json(&Ready { ready: true })?),
        Ok(true) => Ok(context.terminal.line("ready")?),
        Ok(false) => {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it said nothing").to_owned();
            let exit = child.wait().ok().and_then(|status| status.code());
            let exit = if exit == Some(Exit::Usage as i32) { Exit::Usage } else { Exit::Refused };
            Err(CliError::Told(exit, last.trim_start_matches("veilpost: ").to_owned()))
        }
        Err(_) => {
            let message = format!("the daemon is not ready after a minute; {} says more", log.display());
            Err(CliError::Told(Exit::TimedOut, message))
        }
    }
}

/// Asks the daemon to end, and waits until it has.
pub(super) async fn stop(context: &mut Context) -> Result<(), CliError> {
    let client = context.home.client();
    let queued = client.get::<crate::api::types::Status>("/v1/status").await.map_or(0, |status| status.queued);
    client.post_empty("/v1/stop").await?;
    let gone = async {
        while !matches!(client.get::<serde_json::Value>("/v1/status").await, Err(ClientError::NoDaemon)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(STOP_DEADLINE, gone).await.is_err() {
        return Err(CliError::Told(Exit::TimedOut, "the daemon is still writing; look again soon".to_owned()));
    }
    if context.json {
        #[derive(Serialize)]
        struct Stopped {
            stopped: bool,
        }
        return Ok(context.terminal.json(&Stopped { stopped: true })?);
    }
    let line = match queued {
        0 => "stopped".to_owned(),
        1 => "stopped; 1 message is still on this device and leaves when the daemon runs again".to_owned(),
        count => format!("stopped; {count} messages are still on this device and leave when the daemon runs again"),
    };
    Ok(context.terminal.line(&line)?)
}
