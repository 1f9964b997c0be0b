//! The one question before a change that others can see.

use super::{Context, error::CliError};

/// Explains a change of `what`, and asks whether to go to `to`; `yes` answers beforehand, as scripts must.
///
/// # Errors
/// Refused if the person says no; a usage error where nobody can be asked.
pub(super) fn may_change(
    context: &mut Context,
    yes: bool,
    (what, to): (&str, &str),
    explain: impl FnOnce(&mut Context) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if context.json {
        return Err(CliError::usage("with --json nothing is asked; add --yes"));
    }
    if !context.terminal.interactive {
        let message = format!("a {what} is changed after one question on a terminal; in a script, add --yes");
        return Err(CliError::usage(message));
    }
    explain(context)?;
    let answer = context.terminal.ask(&format!("Change to {to}? [y/N] "))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::refused("nothing was changed")),
    }
}
