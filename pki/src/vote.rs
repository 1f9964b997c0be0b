//! Votes: what one authority would put into the next document, and the commitment to its random value.

use crate::{params::Params, statement::EquivocationProof};
use std::sync::Arc;
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{DESCRIPTOR_MAX, HASH, KEY},
    ids::{AuthorityId, NetworkId, NodeId},
    primitives::{hash, label},
    time::Epoch,
};

/// Nodes that a vote lists at most.
pub const NODES_MAX: usize = 20_000;
/// A vote at most: every node with a descriptor of usual size, and the rest.
pub const VOTE_MAX: usize = 24 * 1024 * 1024;
/// Proofs of equivocation that a vote carries at most.
pub const PROOFS_MAX: usize = crate::signed::AUTHORITIES_MAX;

/// The document that a round builds on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Base {
    /// Its epoch.
    pub epoch: Epoch,
    /// Hash of its signed part.
    pub digest: [u8; HASH],
}

/// One authority's vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The newest document that it holds; `None` before the first.
    pub base: Option<Base>,
    /// The parameters that its operator wants.
    pub params: Params,
    /// The mailboxes that its operator admits, ascending: where boxes may be placed, whether they are up or not.
    pub placement: Vec<NodeId>,
    /// Descriptors of admitted nodes, ascending by node id, as the nodes signed them.
    pub descriptors: Vec<(NodeId, Arc<[u8]>)>,
    /// Commitment to its random value.
    pub commitment: [u8; HASH],
    /// Lies that it can prove.
    pub proofs: Vec<EquivocationProof>,
}

impl Vote {
    /// The vote's bytes; one vote has one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let descriptors: usize = self.descriptors.iter().map(|(_, bytes)| bytes.len() + KEY + 2).sum();
        let mut writer = Writer::with_capacity(1_024 + descriptors);
        writer.u8(1);
        let base = self.base.unwrap_or(Base { epoch: Epoch(0), digest: [0; HASH] });
        writer.u64(base.epoch.0).put(&base.digest);
        self.params.write(&mut writer);
        writer.put(&self.commitment).u32(self.placement.len() as u32);
        self.placement.iter().for_each(|id| {
            writer.put(id.as_bytes());
        });
        writer.u32(self.descriptors.len() as u32);
        for (id, bytes) in &self.descriptors {
            writer.put(id.as_bytes()).bytes16(bytes);
        }
        writer.u8(self.proofs.len() as u8);
        self.proofs.iter().for_each(|proof| proof.write(&mut writer));
        writer.finish()
    }

    /// Decodes a vote. Descriptors are not opened: what a majority of authorities holds, an honest one has checked.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > VOTE_MAX {
            return Err(DecodeError::TooLong("vote"));
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != 1 {
            return Err(DecodeError::Invalid("vote version"));
        }
        let base = Base { epoch: Epoch(reader.u64()?), digest: reader.array()? };
        let base = match base {
            Base { epoch: Epoch(0), digest } if digest == [0; HASH] => None,
            Base { epoch: Epoch(0), .. } => return Err(DecodeError::Invalid("base of a vote")),
            base => Some(base),
        };
        let params = Params::read(&mut reader)?;
        let commitment = reader.array()?;
        let count = reader.count(NODES_MAX, "placement")?;
        let placement: Vec<_> = (0..count).map(|_| reader.array().map(NodeId)).collect::<Result<_>>()?;
        let count = reader.count(NODES_MAX, "descriptors")?;
        let descriptor = |reader: &mut Reader<'_>| {
            Ok((NodeId(reader.array()?), reader.bytes16(DESCRIPTOR_MAX, "descriptor")?.into()))
        };
        let descriptors: Vec<(NodeId, Arc<[u8]>)> =
            (0..count).map(|_| descriptor(&mut reader)).collect::<Result<_>>()?;
        let count = usize::from(reader.u8()?);
        if count > PROOFS_MAX {
            return Err(DecodeError::TooLong("proofs"));
        }
        let proofs = (0..count).map(|_| EquivocationProof::read(&mut reader)).collect::<Result<_>>()?;
        reader.finish()?;
        if !placement.is_sorted_by(|a, b| a < b) || !descriptors.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(DecodeError::Invalid("order of a vote"));
        }
        Ok(Self { base, params, placement, descriptors, commitment, proofs })
    }

    /// Hash of an encoded vote.
    pub fn digest(bytes: &[u8]) -> [u8; HASH] {
        hash(label::VOTE, &[bytes])
    }
}

/// Hash of a revealed value.
pub fn reveal_digest(value: &[u8]) -> [u8; HASH] {
    hash(label::REVEAL, &[value])
}

/// The commitment to a random value: bound to author and epoch, so that nobody can commit to another's.
pub fn commitment(network: NetworkId, epoch: Epoch, author: &AuthorityId, value: &[u8]) -> [u8; HASH] {
    hash(label::COMMITMENT, &[network.as_bytes(), &epoch.0.to_be_bytes(), author.as_bytes(), value])
}
