//! What a mailbox's word is worth: `Stored` counts when as many holders as the document asks for have signed it.
//!
//! A box is *stored* when an answer carries W distinct valid signatures (`Params::durable_copies`), all by mailboxes of the
//! document that the packet was made from, or of the one in use, and one of them by the mailbox that answers. Anything less
//! is as good as `Pending`: the box is sent again on its own schedule, to the next holder. The signatures are kept with the
//! box: whoever loses it can be shown its own word.

use super::Core;
use veilpost_packet::{
    boxes::SealedBox,
    codec::Writer,
    command::HolderSignature,
    ids::{DocumentHash, NodeId},
    time::Day,
};
use veilpost_pki::Document;

/// Signatures of distinct holders over one box, each of them checked. At most as many as an answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Until when they promise to keep the box: part of what they signed.
    pub(super) expiry: Day,
    /// Who signed what.
    pub(super) signatures: Vec<HolderSignature>,
}

impl Evidence {
    /// For the encrypted store: expiry, then holder and signature of each.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(4 + self.signatures.len() * 96);
        writer.u32(self.expiry.0);
        for signed in &self.signatures {
            writer.put(signed.holder.as_bytes()).put(&signed.signature);
        }
        writer.finish()
    }

    /// From the encrypted store. Not checked again: what is kept is for people, and nothing here reads it back.
    #[cfg(test)]
    pub(super) fn from_bytes(bytes: &[u8]) -> veilpost_packet::codec::Result<Self> {
        let mut reader = veilpost_packet::codec::Reader::new(bytes);
        let expiry = Day(reader.u32()?);
        let mut signatures = Vec::new();
        while reader.remaining() > 0 {
            signatures.push(HolderSignature { holder: NodeId(reader.array()?), signature: reader.array()? });
        }
        Ok(Self { expiry, signatures })
    }

    /// Whom to ask whether the word is kept: of those that signed, another one than the mailbox that answered, if there is one.
    pub(super) fn other_than(&self, answered: &NodeId) -> Option<NodeId> {
        let other = self.signatures.iter().find(|signed| signed.holder != *answered);
        other.or(self.signatures.first()).map(|signed| signed.holder)
    }
}

impl Core {
    /// The signatures of an answer `Stored` that count, if they are enough. See the module's documentation.
    pub(super) fn evidence(
        &mut self,
        document: &DocumentHash,
        mailbox: &NodeId,
        sealed: &SealedBox,
        signatures: &[HolderSignature],
    ) -> Option<Evidence> {
        let network = self.authorities.network();
        let content = sealed.content_hash(&network);
        // The documents of packets that can still be answered are known: a reply is late after a minute.
        let made_from = self.documents.iter().chain(&self.document).find(|known| known.hash() == *document).cloned();
        let documents: Vec<Document> = made_from.into_iter().chain(self.document.clone()).collect();
        let wanted = usize::try_from(documents.first()?.params.durable_copies).unwrap_or(usize::MAX).max(1);
        let mut good: Vec<HolderSignature> = Vec::new();
        for signed in signatures {
            let listed = documents.iter().any(|document| document.has_mailbox(&signed.holder));
            let new = good.iter().all(|other| other.holder != signed.holder);
            if listed && new && signed.verify(&network, &sealed.id, &content, sealed.expiry) {
                good.push(*signed);
            }
        }
        if !good.iter().any(|signed| signed.holder == *mailbox) {
            self.counters.bad_replies += 1;
            return None;
        }
        (good.len() >= wanted).then_some(Evidence { expiry: sealed.expiry, signatures: good })
    }
}
