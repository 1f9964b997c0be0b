//! What an authority holds of the round that is on.

use super::{ANSWERS_MAX, STATEMENTS_MAX};
use crate::{
    schedule::Phase,
    statement::{Countersignature, Kind, SignedStatement},
    vote::Vote,
};
use std::{collections::BTreeMap, sync::Arc};
use veilpost_packet::{geometry::HASH, ids::AuthorityId, time::Epoch};

/// A statement that was accepted.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) signed: SignedStatement,
    pub(super) chain: Vec<Countersignature>,
    pub(super) body: Arc<[u8]>,
    /// Decoded, for votes that can be.
    pub(super) vote: Option<Arc<Vote>>,
}

/// A relayed statement whose body was asked for.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) signed: SignedStatement,
    pub(super) chain: Vec<Countersignature>,
    /// Who relayed it first.
    pub(super) from: AuthorityId,
}

/// The round that is on.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) target: Epoch,
    pub(super) items: BTreeMap<(AuthorityId, Kind), Vec<Item>>,
    /// By author, kind and hash of the body: a liar may put its name under another's hash. At most [`STATEMENTS_MAX`] for each
    /// author, kind and relayer.
    pub(super) pending: BTreeMap<(AuthorityId, Kind, [u8; HASH]), Pending>,
    /// Signatures under documents, at most [`STATEMENTS_MAX`] of each author.
    pub(super) signatures: BTreeMap<AuthorityId, Vec<SignedStatement>>,
    /// The document that this authority found, not signed by enough yet.
    pub(super) found: Option<(Arc<[u8]>, [u8; HASH])>,
    pub(super) voted: bool,
    pub(super) revealed: bool,
    pub(super) failure: Option<String>,
    /// When documents were last asked for.
    pub(super) asked: Option<Phase>,
    /// How often who asked for which body, or (under no hash) for documents.
    pub(super) answered: BTreeMap<(AuthorityId, [u8; HASH]), u8>,
}

impl Round {
    pub(super) fn new(target: Epoch) -> Self {
        Self {
            target,
            items: BTreeMap::new(),
            pending: BTreeMap::new(),
            signatures: BTreeMap::new(),
            found: None,
            voted: false,
            revealed: false,
            failure: None,
            asked: None,
            answered: BTreeMap::new(),
        }
    }

    /// Adds a statement; `None` if it is known or there are enough of its author, else the author's other one.
    pub(super) fn insert(
        &mut self,
        signed: SignedStatement,
        chain: Vec<Countersignature>,
        body: Arc<[u8]>,
    ) -> Option<Option<SignedStatement>> {
        let statement = signed.statement();
        let held = self.items.entry((statement.author, statement.kind)).or_default();
        if held.len() >= STATEMENTS_MAX || held.iter().any(|item| item.signed.statement().digest == statement.digest) {
            return None;
        }
        let vote = (statement.kind == Kind::Vote).then(|| Vote::decode(&body).ok().map(Arc::new)).flatten();
        let other = held.first().map(|item| item.signed);
        held.push(Item { signed, chain, body, vote });
        Some(other)
    }

    pub(super) fn item(&self, digest: &[u8; HASH]) -> Option<&Item> {
        self.items.values().flatten().find(|item| item.signed.statement().digest == *digest)
    }

    /// Counts a question of an authority; false once it has asked the same too often. Bounded by authorities and bodies held.
    pub(super) fn may_ask(&mut self, from: AuthorityId, digest: [u8; HASH]) -> bool {
        let count = self.answered.entry((from, digest)).or_default();
        *count = count.saturating_add(1);
        *count <= ANSWERS_MAX
    }

    /// Signatures under this document.
    pub(super) fn signers<'a>(&'a self, digest: &'a [u8; HASH]) -> impl Iterator<Item = &'a SignedStatement> {
        self.signatures.values().flatten().filter(move |signed| signed.statement().digest == *digest)
    }
}
