//! How a running mailbox stands, for its operator: the node writes it to a file in its data folder every few seconds, and
//! `veilpost-mailbox status` reads it. Totals alone; nothing of a box or a person.

use super::core::MEASURE;
use crate::{engine::Mailbox, store::BoxStore};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use veilpost_daemon::stop::Failure;
use veilpost_packet::time::Timestamp;

const FILE: &str = "status";
/// A file that is older than this was not written by a node that works.
const STALE: Duration = Duration::from_secs(4 * MEASURE.as_secs());

/// What the file says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// When it was written, in seconds.
    written: u64,
    boxes: u64,
    tombstones: u64,
    /// How full the store is, in percent; 100 also if the disk has come to its floor.
    fill: u8,
    /// Other mailboxes that are heard, and that the network document lists.
    heard: u64,
    listed: u64,
    /// The pass over all boxes by which each comes to its holders.
    pass_running: bool,
    pass_looked_at: u64,
    pass_missing: u64,
    handed_over: u64,
    store_failures: u64,
}

impl Status {
    pub(super) fn of<S: BoxStore>(now: Timestamp, engine: &Mailbox<S>) -> Self {
        let (usage, progress, counters) = (engine.usage(), engine.sweep_progress(), engine.counters());
        let (heard, listed) = engine.peers();
        Self {
            written: now.as_secs(),
            boxes: usage.boxes,
            tombstones: usage.tombstones,
            fill: engine.fill(),
            heard: heard as u64,
            listed: listed as u64,
            pass_running: progress.running,
            pass_looked_at: progress.looked_at,
            pass_missing: progress.missing,
            handed_over: counters.handed_over,
            store_failures: counters.store_failures,
        }
    }

    /// Not synced: after a crash the next one is five seconds away.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let partial = data_dir.join("status.partial");
        fs::write(&partial, text)?;
        fs::rename(partial, data_dir.join(FILE))
    }

    /// What the node of this folder wrote last.
    ///
    /// # Errors
    /// [`Failure::Runtime`] if there is none, or none of a node that works at `now`.
    pub fn read(data_dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        let path: PathBuf = data_dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::Runtime(format!("{} is not there: has this mailbox been started?", path.display()))
            }
            _ => Failure::Runtime(format!("{}: {error}", path.display())),
        })?;
        let status: Self =
            toml::from_str(&text).map_err(|_| Failure::Runtime(format!("{} is damaged", path.display())))?;
        let age = now.since(Timestamp::from_secs(status.written));
        if age > STALE {
            let seconds = age.as_secs();
            return Err(Failure::Runtime(format!(
                "this mailbox does not run, or hangs: it last said how it stands {seconds} s ago ({})",
                path.display()
            )));
        }
        Ok(status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boxes, tombstones, fill, heard, listed, pass_looked_at, pass_missing, handed_over, .. } = self;
        writeln!(f, "store       {boxes} boxes, {tombstones} acknowledged; {fill} % full")?;
        writeln!(f, "mailboxes   {heard} of {listed} others are heard")?;
        let entries = boxes + tombstones;
        match (self.pass_running, pass_missing) {
            (true, _) => writeln!(
                f,
                "placement   looking through the boxes: {pass_looked_at} of about {entries}, {pass_missing} lacked a holder"
            )?,
            (false, 0) => writeln!(f, "placement   every box is on all of its mailboxes")?,
            (false, _) => {
                writeln!(f, "placement   {pass_missing} boxes lacked a holder; looking again within a minute")?
            }
        }
        write!(f, "handed over {handed_over} boxes to their new holders since the start")?;
        if self.store_failures > 0 {
            write!(f, "\nDISK        {} writes or reads failed since the start: see the log", self.store_failures)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            written: 1_000,
            boxes: 7,
            tombstones: 2,
            fill: 12,
            heard: 1,
            listed: 2,
            pass_running: true,
            pass_looked_at: 5,
            pass_missing: 3,
            handed_over: 0,
            store_failures: 0,
        }
    }

    #[test]
    fn what_was_written_is_read_while_the_node_works_and_said_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let at =
            |seconds| Status::read(folder.path(), Timestamp::from_secs(seconds)).map_err(|error| error.to_string());
        assert!(at(1_000).unwrap_err().contains("has this mailbox been started?"));
        status().write(folder.path()).unwrap();
        assert_eq!(at(1_020).unwrap(), status());
        assert!(at(1_021).unwrap_err().contains("does not run, or hangs: it last said how it stands 21 s ago"));
        fs::write(folder.path().join(FILE), "boxes = -1").unwrap();
        assert!(at(1_000).unwrap_err().contains("damaged"));
    }

    #[test]
    fn placement_is_told_by_what_is_missing() {
        assert!(status().to_string().contains("looking through the boxes: 5 of about 9, 3 lacked a holder"));
        let waits = Status { pass_running: false, ..status() };
        assert!(waits.to_string().contains("3 boxes lacked a holder"));
        let done = Status { pass_missing: 0, ..waits };
        assert!(done.to_string().contains("every box is on all of its mailboxes"));
    }
}
