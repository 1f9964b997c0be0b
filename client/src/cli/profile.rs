//! `profile`: what each profile costs, and the choice of one.

use super::{Context, change::may_change, error::CliError, output};
use crate::api::types::{Profile, ProfileCost, ProfileRequest, Profiles};

/// Before a choice, in plain words.
const SETS: &str = "Each profile is a crowd of its own: whoever watches your line, and your entry, sees which one you chose, \
                    and you hide among those who chose the same. Fewer choose metered, so the crowd is smaller.";

pub(super) async fn run(context: &mut Context, wished: Option<Profile>, yes: bool) -> Result<(), CliError> {
    let profiles: Profiles = context.home.client().get("/v1/profile").await?;
    let Some(profile) = wished else { return show(context, &profiles) };
    may_change(context, yes, ("profile", profile.name()), |context| show(context, &profiles))?;
    let changed: Profiles = context.home.client().post("/v1/profile", &ProfileRequest { profile }).await?;
    if context.json {
        return Ok(context.terminal.json(&changed)?);
    }
    let name = profile.name();
    let line = match changed.next_profile {
        None => format!("The profile is {name}."),
        Some(_) => format!(
            "The profile is {name} from the next connection on. A change in the middle of one would mark this moment for who \
             watches your line. Restarting the daemon makes a new connection, which is seen as well."
        ),
    };
    Ok(context.terminal.line(&line)?)
}

fn show(context: &mut Context, profiles: &Profiles) -> Result<(), CliError> {
    if context.json {
        return Ok(context.terminal.json(profiles)?);
    }
    let chosen = |cost: &ProfileCost| {
        if cost.profile == profiles.profile {
            "in use"
        } else if Some(cost.profile) == profiles.next_profile {
            "from the next connection on"
        } else {
            ""
        }
    };
    let head = ["Profile", "Sent a day", "Received a day", "Half of texts within", "95 % within", ""];
    let rows = profiles.costs.iter().map(|cost| {
        let cells = [
            cost.profile.name().to_owned(),
            output::volume(cost.bytes_up_a_day),
            output::volume(cost.bytes_down_a_day),
            output::duration(cost.text_seconds_median),
            output::duration(cost.text_seconds_p95),
            chosen(cost).to_owned(),
        ];
        cells.to_vec()
    });
    let table: Vec<Vec<String>> = std::iter::once(head.map(String::from).to_vec()).chain(rows).collect();
    if profiles.costs.is_empty() {
        context.terminal.line(&format!("The profile is {}.", profiles.profile.name()))?;
        context.terminal.line("What each costs is known when the first network document is here.")?;
    } else {
        for line in output::table(&table) {
            context.terminal.line(&line)?;
        }
        context.terminal.line(
            "All day online, idle or busy alike, with all headers; texts between two of the same profile with nothing queued.",
        )?;
    }
    Ok(context.terminal.line(SETS)?)
}
