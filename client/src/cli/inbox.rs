//! `inbox`.

use super::{
    Context,
    error::{CliError, Exit},
    os,
    output::{self, clean},
    save::save,
};
use crate::{
    api::{
        client::Client,
        types::{Direction, Event, Kind, Message, MessageState},
    },
    handle::INBOX_PAGE,
};
use std::{collections::BTreeSet, path::Path};

pub(super) async fn run(context: &mut Context, follow: bool, into: Option<&Path>) -> Result<(), CliError> {
    let client = context.home.client();
    // Before the list, so that nothing falls between.
    let events = if follow { Some(client.events().await?) } else { None };
    let mut shown = Shown::default();
    let count = shown.catch_up(context, &client, into).await?;
    let Some(mut events) = events else {
        if count == 0 && !context.json {
            context.terminal.line("No messages yet.")?;
        }
        return Ok(());
    };
    while let Some(event) = events.next().await {
        match event {
            Event::MessageChanged { id, state: MessageState::Received | MessageState::Failed }
                if shown.incomplete.remove(&id) =>
            {
                let message = client.get(&format!("/v1/messages/{id}")).await?;
                show(context, &client, message, into).await?;
            }
            // The latter is a file that was refused, or whole at once: it never was incomplete.
            Event::MessageReceived { .. }
            | Event::Missed { .. }
            | Event::MessageChanged { state: MessageState::Received | MessageState::Failed, .. } => {
                shown.catch_up(context, &client, into).await?;
            }
            _ => {}
        }
    }
    Err(CliError::Told(Exit::NoDaemon, "the daemon has ended; start it with `veilpost daemon`".to_owned()))
}

/// How far the history was shown.
#[derive(Default)]
struct Shown {
    last: Option<i64>,
    /// Files that were shown before they were whole. Bounded by what senders may have open at a time, which the core bounds.
    incomplete: BTreeSet<i64>,
}

impl Shown {
    /// Shows what came after the last one shown; says how many.
    async fn catch_up(
        &mut self,
        context: &mut Context,
        client: &Client,
        into: Option<&Path>,
    ) -> Result<usize, CliError> {
        let mut count = 0;
        loop {
            let after = self.last.map(|id| format!("&after={id}")).unwrap_or_default();
            let page: Vec<Message> = client.get(&format!("/v1/messages?limit={INBOX_PAGE}{after}")).await?;
            if page.is_empty() {
                return Ok(count);
            }
            for message in page {
                // Also if it were out of order, this never asks for the same page again.
                self.last = self.last.max(Some(message.id));
                if message.state == MessageState::Receiving {
                    self.incomplete.insert(message.id);
                }
                show(context, client, message, into).await?;
                count += 1;
            }
        }
    }
}

async fn show(
    context: &mut Context,
    client: &Client,
    mut message: Message,
    into: Option<&Path>,
) -> Result<(), CliError> {
    let whole =
        message.kind == Kind::File && message.direction == Direction::In && message.state == MessageState::Received;
    if let Some(dir) = into.filter(|_| whole) {
        let bytes = client.get_bytes(&format!("/v1/messages/{}/file", message.id)).await?;
        let name = message.name.as_deref().unwrap_or_default();
        let cannot = |error| CliError::refused(format!("cannot save into {}: {error}", dir.display()));
        message.path = Some(save(dir, name, &bytes).map_err(cannot)?.display().to_string());
    }
    if context.json {
        return Ok(context.terminal.json(&message)?);
    }
    Ok(context.terminal.line(&line(&message))?)
}

/// One message for people: number, who, when, state if it matters, and what it says, with further lines indented.
fn line(message: &Message) -> String {
    let who = match message.direction {
        Direction::In => clean(&message.contact),
        Direction::Out => format!("to {}", clean(&message.contact)),
    };
    let name = || clean(message.name.as_deref().unwrap_or("file")).replace('\n', " ");
    let content = match message.kind {
        Kind::Text => clean(message.text.as_deref().unwrap_or_default()),
        Kind::File => {
            let saved = message.path.as_deref().map(|path| format!(", saved as {}", clean(path))).unwrap_or_default();
            format!("[{}, {}]{saved}", name(), output::size(message.size.unwrap_or(0)))
        }
        Kind::Other => format!("[content that this version cannot show: {}]", name()),
    };
    let reason = message.reason.as_deref().map(|reason| format!(" ({})", clean(reason))).unwrap_or_default();
    let when = output::ago(&message.at, os::now());
    let head = format!("{:>4}  {who:<16}  {when:<11}  {:<9}  ", message.id, message.state.word());
    let indent = format!("\n{}", " ".repeat(head.chars().count()));
    format!("{head}{}{reason}", content.trim_end().replace('\n', &indent))
}
