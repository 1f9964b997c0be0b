//! `transport`: who learns what by each way to the network, and the choice of one.

use super::{Context, change::may_change, error::CliError, output};
use crate::api::types::{Transport, TransportChoice, TransportRequest, Transports};

/// Below the table, in plain words.
const COSTS: &str = "Costs are reckoned: all day online, idle or busy alike, texts between two of the same transport with nothing \
                     queued. Circuits and bytes over Tor were measured on a private Tor network; on the public one a circuit takes a \
                     second or more longer.";
const NO_OTHER: &str = "Nothing ever goes by another way than the one in use: if that fails, messages wait.";
/// What a change does, before the question.
const CHANGE: &str = "The connection ends and a new one begins by the other way, which who watches your line sees. Messages on their \
                      way are sent and asked for again; none is lost.";

pub(super) async fn run(context: &mut Context, wished: Option<Transport>, yes: bool) -> Result<(), CliError> {
    let transports: Transports = context.home.client().get("/v1/transport").await?;
    let Some(transport) = wished else { return show(context, &transports) };
    if transport != transports.transport {
        may_change(context, yes, ("transport", transport.name()), |context| compare(context, &transports, transport))?;
    }
    let changed: Transports = context.home.client().post("/v1/transport", &TransportRequest { transport }).await?;
    if context.json {
        return Ok(context.terminal.json(&changed)?);
    }
    Ok(context
        .terminal
        .line(&format!("The transport is {}. `veilpost status` says when it is connected.", transport.name()))?)
}

fn show(context: &mut Context, transports: &Transports) -> Result<(), CliError> {
    if context.json {
        return Ok(context.terminal.json(transports)?);
    }
    for choice in &transports.choices {
        describe(context, choice, choice.transport == transports.transport)?;
        context.terminal.line("")?;
    }
    if transports.choices.iter().any(|choice| choice.cost.is_some()) {
        context.terminal.line(COSTS)?;
    }
    Ok(context.terminal.line(NO_OTHER)?)
}

fn describe(context: &mut Context, choice: &TransportChoice, used: bool) -> Result<(), CliError> {
    let used = if used { " (in use)" } else { "" };
    context.terminal.line(&format!("{}{used}", choice.transport.name()))?;
    let rows: Vec<Vec<String>> =
        choice.learns.iter().map(|row| vec![format!("  {}", row.who), row.what.clone()]).collect();
    for line in output::table(&rows) {
        context.terminal.line(&line)?;
    }
    if let Some(cost) = &choice.cost {
        context.terminal.line(&format!(
            "  half of texts within {}, 95 % within {}; {} sent and {} received a day",
            output::duration(cost.text_seconds_median),
            output::duration(cost.text_seconds_p95),
            output::volume(cost.bytes_up_a_day),
            output::volume(cost.bytes_down_a_day)
        ))?;
    }
    Ok(())
}

/// Shows what is given up and gained.
fn compare(context: &mut Context, transports: &Transports, transport: Transport) -> Result<(), CliError> {
    for choice in
        transports.choices.iter().filter(|choice| [transport, transports.transport].contains(&choice.transport))
    {
        describe(context, choice, choice.transport == transports.transport)?;
    }
    Ok(context.terminal.line(CHANGE)?)
}
