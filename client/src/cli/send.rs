//! `send`.

use super::{
    Context,
    args::Goal,
    error::{CliError, Exit},
    home::read_bounded,
    output,
};
use crate::{
    api::{
        client::{Client, Events, escape},
        types::{Event, Message, MessageState, Sent, Status, TextRequest},
    },
    content::{MAX_TEXT, file_name},
    store::files::MAX_FILE,
};
use serde::Serialize;
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// What `send` was asked.
pub(super) struct Send {
    pub(super) contact: String,
    pub(super) text: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) wait: Option<Goal>,
    pub(super) timeout: Duration,
}

/// How often the state is asked for while no event comes: a stream of events may miss some.
const ASK_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &mut Context, send: Send) -> Result<(), CliError> {
    let client = context.home.client();
    // Before sending, so that no event is missed.
    let mut events = match send.wait {
        Some(_) => Some(client.events().await?),
        None => None,
    };
    let place = escape(&send.contact);
    let sent: Sent = match (&send.text, &send.file) {
        (_, Some(path)) => {
            let bytes = read_bounded(path, MAX_FILE)?;
            let name = file_name(&path.file_name().unwrap_or_default().to_string_lossy());
            let place = format!("/v1/contacts/{place}/files?name={}", escape(&name));
            client.post_bytes(&place, media_type(path), bytes).await?
        }
        (text, None) => {
            let text = match text.as_deref() {
                Some("-") => read_input(context)?,
                text => text.unwrap_or_default().to_owned(),
            };
            client.post(&format!("/v1/contacts/{place}/messages"), &TextRequest { text }).await?
        }
    };
    let Some((goal, events)) = send.wait.zip(events.as_mut()) else {
        return report(context, &sent, sent.state);
    };
    if !context.json {
        report(context, &sent, sent.state)?;
    }
    let goal = match goal {
        Goal::Stored => MessageState::Stored,
        Goal::Delivered => MessageState::Delivered,
    };
    let waiting = wait(context, &client, events, sent.id, goal);
    let reached = match tokio::time::timeout(send.timeout, waiting).await {
        Ok(reached) => reached?,
        Err(_) => return Err(overdue(&client, sent.id, goal).await),
    };
    report(context, &Sent { estimate_seconds: None, ..sent }, reached)
}

fn report(context: &mut Context, sent: &Sent, state: MessageState) -> Result<(), CliError> {
    if context.json {
        #[derive(Serialize)]
        struct Line {
            id: i64,
            state: MessageState,
        }
        return Ok(context.terminal.json(&Line { id: sent.id, state })?);
    }
    let meaning = match state {
        MessageState::Stored => ": on the mailboxes, waiting for its recipient",
        MessageState::Delivered => ": on the recipient's device",
        _ => "",
    };
    let estimate = sent.estimate_seconds.map(output::duration);
    let estimate =
        estimate.map(|time| format!("; stored in about {time}, keep the daemon running")).unwrap_or_default();
    Ok(context.terminal.line(&format!("message {} {}{meaning}{estimate}", sent.id, state.word()))?)
}

/// Until the message has come as far as `goal`.
async fn wait(
    context: &mut Context,
    client: &Client,
    events: &mut Events,
    id: i64,
    goal: MessageState,
) -> Result<MessageState, CliError> {
    let mut tenths = 0;
    loop {
        let message: Message = client.get(&format!("/v1/messages/{id}")).await?;
        if message.state == MessageState::Failed {
            let reason = message.reason.unwrap_or_else(|| "no reason is known".to_owned());
            return Err(CliError::refused(format!("message {id} failed: {}", output::clean(&reason))));
        }
        if message.state.has_reached(goal) {
            return Ok(message.state);
        }
        // What concerns this message, or a while without.
        let concerns = async {
            loop {
                match events.next().await {
                    Some(Event::MessageChanged { id: changed, .. }) if changed == id => return true,
                    Some(Event::Missed { .. }) => return true,
                    Some(Event::AttachmentProgress { id: file, done, total }) if file == id => {
                        let now = done.saturating_mul(10) / total.max(1);
                        if now > tenths && !context.json {
                            tenths = now;
                            context.terminal.note(&format!("{done} of {total} boxes"));
                        }
                    }
                    Some(_) => {}
                    None => return false,
                }
            }
        };
        if tokio::time::timeout(ASK_AGAIN, concerns).await == Ok(false) {
            let message = format!("the daemon ended while message {id} was on its way; it goes on when you start it");
            return Err(CliError::Told(Exit::NoDaemon, message));
        }
    }
}

/// Why it took too long: the network's fault or only slow.
async fn overdue(client: &Client, id: i64, goal: MessageState) -> CliError {
    let connected = client.get::<Status>("/v1/status").await.is_ok_and(|status| status.connected);
    if connected {
        let message = format!("message {id} is not {} yet; the daemon keeps trying", goal.word());
        CliError::Told(Exit::TimedOut, message)
    } else {
        let message = format!("the network cannot be reached; message {id} leaves as soon as it can");
        CliError::Told(Exit::Unreachable, message)
    }
}

fn read_input(context: &mut Context) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let bound = MAX_TEXT as u64 + 1;
    let told = |error| CliError::refused(format!("cannot read standard input: {error}"));
    (&mut context.terminal.input).take(bound).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > MAX_TEXT {
        return Err(CliError::refused("the text is longer than 64 KiB; send it as a file with --file"));
    }
    String::from_utf8(bytes).map_err(|_| CliError::refused("standard input is not text; send it as a file with --file"))
}

/// By the file's ending, for the usual ones: the recipient's programs decide by the name anyway.
fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "md" => "text/plain",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
