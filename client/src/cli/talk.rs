//! Commands that ask the daemon one thing.

use super::{
    Context,
    error::CliError,
    output::{self, clean},
};
use crate::api::{
    client::escape,
    types::{AcceptRequest, Contact, ContactState, Invitation, InviteRequest, Safety, Status},
};
use serde::Serialize;

pub(super) async fn status(context: &mut Context) -> Result<(), CliError> {
    let status: Status = context.home.client().get("/v1/status").await?;
    if context.json {
        return Ok(context.terminal.json(&status)?);
    }
    let queued = match status.queued {
        0 => "nothing".to_owned(),
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    };
    let epoch = status.epoch.map_or_else(|| "none yet".to_owned(), |epoch| epoch.to_string());
    let connected = if status.connected { "yes" } else { "no, trying again" };
    let profile = match status.next_profile {
        Some(next) => format!("{}, {} from the next connection on", status.profile.name(), next.name()),
        None => status.profile.name().to_owned(),
    };
    let row = |label: &str, value: &str| vec![label.to_owned(), value.to_owned()];
    let mut rows = vec![
        row("Connected", connected),
        row("Epoch", &epoch),
        row("Transport", &clean(&status.transport)),
        row("Profile", &profile),
        row("Queued", &queued),
    ];
    rows.extend(status.warnings.iter().map(|warning| row("Warning", &clean(warning))));
    for line in output::table(&rows) {
        context.terminal.line(&line)?;
    }
    Ok(())
}

pub(super) async fn invite(context: &mut Context, name: Option<String>, qr: bool) -> Result<(), CliError> {
    let invitation: Invitation = context.home.client().post("/v1/invitations", &InviteRequest { name }).await?;
    if context.json {
        return Ok(context.terminal.json(&invitation)?);
    }
    let terminal = &mut context.terminal;
    terminal.line("Give this link to one person, on a way you trust. It works once, and for 14 days:")?;
    terminal.line(&format!("\n  {}\n", clean(&invitation.link)))?;
    if let Some(code) = output::qr(&invitation.link).filter(|_| qr) {
        terminal.line(&code)?;
    }
    Ok(terminal.line("They open it with `veilpost accept LINK`. Then compare safety numbers.")?)
}

/// A contact as scripts see it.
#[derive(Serialize)]
struct ContactLine<'a> {
    name: &'a str,
    verified: bool,
}

impl<'a> From<&'a Contact> for ContactLine<'a> {
    fn from(contact: &'a Contact) -> Self {
        Self { name: &contact.name, verified: contact.verified }
    }
}

pub(super) async fn accept(context: &mut Context, link: String, name: Option<String>) -> Result<(), CliError> {
    let link = link.trim().to_owned();
    let contact: Contact = context.home.client().post("/v1/contacts", &AcceptRequest { link, name }).await?;
    if context.json {
        return Ok(context.terminal.json(&ContactLine::from(&contact))?);
    }
    let name = clean(&contact.name);
    let line = if contact.state.is_usable() {
        format!("“{name}” is a contact now. Compare safety numbers: `veilpost safety \"{name}\"`.")
    } else {
        format!(
            "The invitation is not on its mailbox yet, or has expired (links live 14 days). “{name}” becomes a contact as \
             soon as it is there; `veilpost contacts` shows it. If that does not happen, ask for a new link."
        )
    };
    Ok(context.terminal.line(&line)?)
}

pub(super) async fn contacts(context: &mut Context) -> Result<(), CliError> {
    let contacts: Vec<Contact> = context.home.client().get("/v1/contacts").await?;
    if context.json {
        for contact in contacts.iter().filter(|contact| contact.state.is_usable()) {
            context.terminal.json(&ContactLine::from(contact))?;
        }
        return Ok(());
    }
    if contacts.is_empty() {
        return Ok(context.terminal.line("No contacts yet; make a link with `veilpost invite`.")?);
    }
    let row = |contact: &Contact| {
        let state = match contact.state {
            ContactState::Invited => "invitation open: not answered, or not arrived yet",
            ContactState::Answered => "has your answer to their invitation",
            ContactState::Established => "",
            ContactState::Failed => "the invitation came to nothing; make a new one",
        };
        let verified = if contact.verified { "verified" } else { "not verified" };
        vec![clean(&contact.name), verified.to_owned(), state.to_owned()]
    };
    for line in output::table(&contacts.iter().map(row).collect::<Vec<_>>()) {
        context.terminal.line(&line)?;
    }
    Ok(())
}

pub(super) async fn safety(context: &mut Context, contact: &str) -> Result<(), CliError> {
    let place = format!("/v1/contacts/{}/safety", escape(contact));
    let safety: Safety = context.home.client().get(&place).await?;
    if context.json {
        #[derive(Serialize)]
        struct Line<'a> {
            contact: &'a str,
            digits: &'a str,
            verified: bool,
        }
        let line = Line { contact: &safety.contact, digits: &safety.digits, verified: safety.verified };
        return Ok(context.terminal.json(&line)?);
    }
    let name = clean(&safety.contact);
    let terminal = &mut context.terminal;
    terminal.line(&format!("Safety number with {name}:\n"))?;
    let groups: Vec<&str> = safety.digits.split_whitespace().collect();
    for row in groups.chunks(4) {
        terminal.line(&format!("  {}", clean(&row.join(" "))))?;
    }
    let advice = if safety.verified {
        format!("\nYou compared it before: “{name}” is verified.")
    } else {
        format!("\nIf {name} sees the same digits, nobody stands between you: `veilpost verify \"{name}\"`.")
    };
    Ok(terminal.line(&advice)?)
}

pub(super) async fn verify(context: &mut Context, contact: &str) -> Result<(), CliError> {
    let place = format!("/v1/contacts/{}/verified", escape(contact));
    let contact: Contact = context.home.client().post(&place, &()).await?;
    if context.json {
        return Ok(context.terminal.json(&ContactLine::from(&contact))?);
    }
    Ok(context.terminal.line(&format!("“{}” is marked as verified.", clean(&contact.name)))?)
}
