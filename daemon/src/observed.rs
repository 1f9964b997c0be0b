//! What a running node has observed and its next descriptor says: how full it is, and who loses packets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use veilpost_cover::Findings;
use veilpost_packet::{
    codec::{Reader, Writer},
    ids::NodeId,
    time::Epoch,
};
use veilpost_pki::{
    descriptor::FILL_MAX,
    reliability::{Measured, read_reports, write_reports},
};

/// What was observed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// How full the node is, in percent; 0 for all but mailboxes.
    pub fill: u8,
    /// Nodes that its loops found unreliable, worst first.
    pub measured: Vec<Measured>,
}

/// Between a node's core, which observes, and its dealings with authorities. Held for a copy's time.
pub type Shared = Arc<Mutex<Observed>>;

/// Its content.
pub fn lock(shared: &Shared) -> MutexGuard<'_, Observed> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over what loops found.
pub fn report(shared: &Shared, findings: &Findings) {
    lock(shared).measured.clone_from(&findings.reports);
}

impl Observed {
    /// As a file keeps it, with the epoch that it was said for.
    pub(crate) fn to_bytes(&self, epoch: Epoch) -> Vec<u8> {
        let mut writer = Writer::with_capacity(16);
        writer.u64(epoch.0).u8(self.fill);
        write_reports(&mut writer, &self.measured);
        writer.finish()
    }

    /// What the node `of` said for this epoch; `None` for another epoch, or a damaged file.
    pub(crate) fn from_bytes(bytes: &[u8], epoch: Epoch, of: &NodeId) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (number, fill) = (reader.u64().ok()?, reader.u8().ok()?);
        let measured = read_reports(&mut reader, of).ok()?;
        reader.finish().ok()?;
        (number == epoch.0 && fill <= FILL_MAX).then_some(Self { fill, measured })
    }
}
