//! What authorities say to each other, and nodes to authorities: records of the byte stream that [`veilpost_packet::frame`] cuts
//! into frames.

use crate::{
    statement::{Countersignature, EquivocationProof, SignedStatement},
    vote::{PROOFS_MAX, VOTE_MAX},
};
use std::sync::Arc;
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{DESCRIPTOR_MAX, DOCUMENT_MAX, HASH},
    time::Epoch,
};

/// A message between authorities at most: a vote and what surrounds it.
pub const MESSAGE_MAX: usize = VOTE_MAX + 4_096;
/// A message of a node to an authority at most.
pub const NODE_MESSAGE_MAX: usize = DESCRIPTOR_MAX + 64;
/// Signatures under one relayed statement at most.
const CHAIN_MAX: usize = crate::signed::AUTHORITIES_MAX;

const _: () = assert!(DOCUMENT_MAX < MESSAGE_MAX);

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// From its author: a vote, a reveal, or the hash of a document (then without a body).
    Statement(SignedStatement, Arc<[u8]>),
    /// From another authority: it holds this statement, and those vouch for it. The body is asked for by who lacks it.
    Relay(SignedStatement, Vec<Countersignature>),
    /// Asks for the body with this hash.
    WantBody([u8; HASH]),
    /// The body of a vote or a reveal.
    Body(Arc<[u8]>),
    /// Asks for the newest document after this epoch, and for every later one.
    WantDocument(Epoch),
    /// A signed document.
    Document(Arc<[u8]>),
    /// A node's descriptor.
    Descriptor(Arc<[u8]>),
    /// What became of a descriptor.
    Answer(DescriptorAnswer),
    /// To a node that asked for documents: there are no others, and the newest here is this epoch's.
    Newest(Epoch),
    /// Lies that this authority can prove.
    Proofs(Vec<EquivocationProof>),
}

/// What became of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
#[repr(u8)]
pub enum DescriptorAnswer {
    /// It will be in this authority's vote.
    #[error("taken")]
    Taken = 1,
    /// It is for an epoch whose vote is over.
    #[error("too late for that epoch: is this node's clock slow?")]
    Late = 2,
    /// It is for an epoch whose time has not come.
    #[error("too early for that epoch: is this node's clock fast?")]
    Early = 3,
    /// The node is not on this authority's list, or in another role.
    #[error("this authority does not admit the node in that role: ask its operator to list the id")]
    NotAdmitted = 4,
    /// Another one of this node for this epoch is here already.
    #[error("another descriptor of this node for that epoch is here already")]
    Different = 5,
    /// Not a descriptor, or not signed by its node.
    #[error("malformed")]
    Malformed = 6,
    /// It names another link key than the one that brought it.
    #[error("the descriptor names another link key than the one that this node proves")]
    OtherLink = 7,
}

impl DescriptorAnswer {
    fn from_byte(byte: u8) -> Result<Self> {
        [Self::Taken, Self::Late, Self::Early, Self::NotAdmitted, Self::Different, Self::Malformed, Self::OtherLink]
            .into_iter()
            .find(|answer| *answer as u8 == byte)
            .ok_or(DecodeError::Invalid("answer to a descriptor"))
    }
}

impl Message {
    /// The message as a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Statement(signed, body) => {
                writer.u8(1);
                signed.write(&mut writer);
                writer.put(body);
            }
            Self::Relay(signed, chain) => {
                writer.u8(2);
                signed.write(&mut writer);
                writer.u8(chain.len() as u8);
                chain.iter().for_each(|signature| signature.write(&mut writer));
            }
            Self::WantBody(digest) => {
                writer.u8(3).put(digest);
            }
            Self::Body(body) => {
                writer.u8(4).put(body);
            }
            Self::WantDocument(after) => {
                writer.u8(5).u64(after.0);
            }
            Self::Document(bytes) => {
                writer.u8(6).put(bytes);
            }
            Self::Descriptor(bytes) => {
                writer.u8(7).put(bytes);
            }
            Self::Answer(answer) => {
                writer.u8(8).u8(*answer as u8);
            }
            Self::Newest(epoch) => {
                writer.u8(10).u64(epoch.0);
            }
            Self::Proofs(proofs) => {
                writer.u8(9).u8(proofs.len() as u8);
                proofs.iter().for_each(|proof| proof.write(&mut writer));
            }
        }
        writer.finish()
    }

    /// From a record. Signatures of statements and proofs are checked; those of documents and descriptors are not.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MESSAGE_MAX {
            return Err(DecodeError::TooLong("message"));
        }
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            1 => Self::Statement(SignedStatement::read(&mut reader)?, reader.rest().into()),
            2 => {
                let signed = SignedStatement::read(&mut reader)?;
                let count = usize::from(reader.u8()?);
                if count > CHAIN_MAX {
                    return Err(DecodeError::TooLong("countersignatures"));
                }
                let chain = (0..count).map(|_| Countersignature::read(&mut reader)).collect::<Result<_>>()?;
                Self::Relay(signed, chain)
            }
            3 => Self::WantBody(reader.array()?),
            4 => Self::Body(reader.rest().into()),
            5 => Self::WantDocument(Epoch(reader.u64()?)),
            6 => Self::Document(reader.rest().into()),
            7 => Self::Descriptor(reader.rest().into()),
            8 => Self::Answer(DescriptorAnswer::from_byte(reader.u8()?)?),
            9 => {
                let count = usize::from(reader.u8()?);
                if count > PROOFS_MAX {
                    return Err(DecodeError::TooLong("proofs"));
                }
                Self::Proofs((0..count).map(|_| EquivocationProof::read(&mut reader)).collect::<Result<_>>()?)
            }
            10 => Self::Newest(Epoch(reader.u64()?)),
            _ => return Err(DecodeError::Invalid("kind of message")),
        };
        reader.finish()?;
        Ok(message)
    }
}
