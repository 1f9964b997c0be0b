//! What an authority says under its key: a vote, a reveal, a document; and the proof that it said two different things.
//!
//! A statement names its content by hash, so that a proof of two of them is small and needs neither vote.

use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{HASH, SIGNATURE},
    ids::{AuthorityId, NetworkId},
    primitives::{SigningSecret, label, verify},
    time::Epoch,
};

/// What a statement is about. An honest authority makes one of each for an epoch, ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Its vote.
    Vote = 1,
    /// The random value behind its vote's commitment.
    Reveal = 2,
    /// The network document that it found.
    Document = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(Self::Vote),
            2 => Ok(Self::Reveal),
            3 => Ok(Self::Document),
            _ => Err(DecodeError::Invalid("kind of statement")),
        }
    }
}

/// An authority's claim about an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Statement {
    /// The network.
    pub network: NetworkId,
    /// The epoch whose document it is about.
    pub epoch: Epoch,
    /// What it is about.
    pub kind: Kind,
    /// Who says so.
    pub author: AuthorityId,
    /// Hash of what is said.
    pub digest: [u8; HASH],
}

impl Statement {
    /// The bytes that are signed, of one length.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(105);
        writer.put(self.network.as_bytes()).u64(self.epoch.0).u8(self.kind as u8);
        writer.put(self.author.as_bytes()).put(&self.digest);
        writer.finish()
    }

    /// Signs it. The caller is the author, and has never signed another of this kind and epoch.
    pub fn sign(self, secret: &SigningSecret) -> SignedStatement {
        SignedStatement { statement: self, signature: secret.sign(label::STATEMENT, &self.bytes()) }
    }

    /// True if this is its author's signature.
    pub fn is_signed_by_author(&self, signature: &[u8; SIGNATURE]) -> bool {
        verify(self.author.as_bytes(), label::STATEMENT, &self.bytes(), signature)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            network: NetworkId(reader.array()?),
            epoch: Epoch(reader.u64()?),
            kind: Kind::from_byte(reader.u8()?)?,
            author: AuthorityId(reader.array()?),
            digest: reader.array()?,
        })
    }
}

/// A statement whose author's signature is good: there is no other way to one than signing and [`SignedStatement::read`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SignedStatement {
    statement: Statement,
    signature: [u8; SIGNATURE],
}

impl SignedStatement {
    /// What is stated.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The author's signature.
    pub fn signature(&self) -> &[u8; SIGNATURE] {
        &self.signature
    }

    /// Appends `statement | signature`.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(&self.statement.bytes()).put(&self.signature);
    }

    /// Reads and checks the signature.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] if the author did not sign it.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let signed = Self { statement: Statement::read(reader)?, signature: reader.array()? };
        if !signed.statement.is_signed_by_author(&signed.signature) {
            return Err(DecodeError::Invalid("signature of a statement"));
        }
        Ok(signed)
    }

    /// Another authority's word that it holds this statement.
    pub fn countersign(&self, secret: &SigningSecret) -> Countersignature {
        let signature = secret.sign(label::COUNTERSIGNATURE, &self.statement.bytes());
        Countersignature { by: secret.authority_id(), signature }
    }
}

/// An authority's word that it holds a statement of another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Countersignature {
    /// Who holds it.
    pub by: AuthorityId,
    /// Their signature.
    pub signature: [u8; SIGNATURE],
}

impl Countersignature {
    /// True if it is for this statement.
    pub fn is_for(&self, statement: &Statement) -> bool {
        verify(self.by.as_bytes(), label::COUNTERSIGNATURE, &statement.bytes(), &self.signature)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.put(self.by.as_bytes()).put(&self.signature);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { by: AuthorityId(reader.array()?), signature: reader.array()? })
    }
}

/// Two different statements of one kind for one epoch by one authority: proof that it lies, good for anyone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EquivocationProof {
    first: SignedStatement,
    second: SignedStatement,
}

impl EquivocationProof {
    /// `None` if the two do not contradict each other.
    pub fn new(one: SignedStatement, other: SignedStatement) -> Option<Self> {
        let of = |signed: &SignedStatement| {
            let Statement { network, epoch, kind, author, .. } = signed.statement;
            (network, epoch, kind, author)
        };
        let contradict = of(&one) == of(&other) && one.statement.digest != other.statement.digest;
        // In one order, so that all who saw both hold the same proof.
        let (first, second) = if one.statement.digest < other.statement.digest { (one, other) } else { (other, one) };
        contradict.then_some(Self { first, second })
    }

    /// Who lied.
    pub fn author(&self) -> AuthorityId {
        self.first.statement.author
    }

    /// About which epoch.
    pub fn epoch(&self) -> Epoch {
        self.first.statement.epoch
    }

    /// About what.
    pub fn kind(&self) -> Kind {
        self.first.statement.kind
    }

    /// The network it happened in.
    pub fn network(&self) -> NetworkId {
        self.first.statement.network
    }

    /// Appends both statements.
    pub fn write(&self, writer: &mut Writer) {
        self.first.write(writer);
        self.second.write(writer);
    }

    /// Reads a proof and checks it.
    ///
    /// # Errors
    /// If a signature is bad, the two do not contradict each other, or stand in the other order.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (first, second) = (SignedStatement::read(reader)?, SignedStatement::read(reader)?);
        let proof = Self::new(first, second).filter(|proof| proof.first == first);
        proof.ok_or(DecodeError::Invalid("proof of equivocation"))
    }
}
