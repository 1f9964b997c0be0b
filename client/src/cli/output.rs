//! What people and scripts read. Texts and names of others never reach a terminal with control characters in them.

use serde::Serialize;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use veilpost_packet::time::Timestamp;

/// Bytes of an answer to a question: `yes` fits.
const ANSWER_MAX: u64 = 64;

/// The three streams of a command.
pub struct Terminal {
    /// Standard input.
    pub input: Box<dyn Read + Send>,
    /// Standard output.
    pub out: Box<dyn Write + Send>,
    /// Standard error.
    pub err: Box<dyn Write + Send>,
    /// A person sits at standard input and can be asked.
    pub interactive: bool,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal(..)")
    }
}

impl Terminal {
    /// The process's own.
    pub fn of_process() -> Self {
        let interactive = io::stdin().is_terminal();
        Self { input: Box::new(io::stdin()), out: Box::new(io::stdout()), err: Box::new(io::stderr()), interactive }
    }

    /// A line for people.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// A line for scripts.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(&json)
    }

    /// Asks, and reads one line of at most [`ANSWER_MAX`] bytes.
    pub(super) fn ask(&mut self, question: &str) -> io::Result<String> {
        write!(self.out, "{question}")?;
        self.out.flush()?;
        let mut answer = String::new();
        // One question is asked, so nothing that is read ahead is missed.
        BufReader::new(self.input.by_ref().take(ANSWER_MAX)).read_line(&mut answer)?;
        Ok(answer)
    }

    /// A line of standard error. That it cannot be written is nothing to tell anyone.
    pub(super) fn note(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }
}

/// A text without what a terminal would obey: escape sequences, direction overrides. Line ends and tabs stay.
pub(super) fn clean(text: &str) -> String {
    let unsafe_char = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if unsafe_char(c) { '\u{fffd}' } else { c }).collect()
}

/// Rows with their columns aligned; the last column is as long as it is.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How long ago a moment in RFC 3339 was; its day if that is long.
pub(super) fn ago(at: &str, now: Timestamp) -> String {
    let Ok(moment) = OffsetDateTime::parse(at, &Rfc3339) else { return at.to_owned() };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match now.saturating_sub(moment.unix_timestamp()) {
        seconds if seconds < 45 => "just now".to_owned(),
        seconds if seconds < 3_600 => format!("{} min ago", (seconds / 60).max(1)),
        seconds if seconds < 86_400 => format!("{} h ago", seconds / 3_600),
        seconds if seconds < 7 * 86_400 => format!("{} d ago", seconds / 86_400),
        _ => moment.date().to_string(),
    }
}

/// A number of bytes.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}

/// An amount of traffic, as providers count it.
pub(super) fn volume(bytes: u64) -> String {
    format!("{} MB", (bytes + 500_000) / 1_000_000)
}

/// A time to wait, rounded to what one can feel.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

/// A link as a QR code of half blocks, dark on light whatever the terminal's colours.
pub(super) fn qr(link: &str) -> Option<String> {
    // Capitals are QR's alphanumeric mode, which makes the code a third smaller; links are read without regard to case.
    let code = qrcode::QrCode::new(link.to_ascii_uppercase()).ok()?;
    let rows = code.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build();
    Some(rows.lines().map(|row| format!("\u{1b}[30;107m{row}\u{1b}[0m")).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_command_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\u{202e}d\te\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\te\n");
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [["Ève", "yes", "x"], ["Bobby", "no", ""]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), ["Ève    yes  x", "Bobby  no"]);
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now = Timestamp::from_secs(1_700_000_000);
        for (back, told) in [(0, "just now"), (60, "1 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago")] {
            assert_eq!(ago(&crate::api::types::rfc3339(Timestamp::from_secs(1_700_000_000 - back)), now), told);
        }
        assert_eq!(ago("2020-02-01T00:00:00Z", now), "2020-02-01");
        assert_eq!((duration(40), duration(780), duration(9_000)), ("40 s".into(), "13 min".into(), "3 h".into()));
        assert_eq!((size(12), size(1_025), size(3_000_000)), ("12 B".into(), "2 KiB".into(), "3 MiB".into()));
    }

    #[test]
    fn a_link_fits_a_qr_code() {
        assert!(qr(&"a".repeat(60)).unwrap().lines().count() < 25);
    }
}
