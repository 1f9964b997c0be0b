//! The nodes that an operator admits: a file that may be edited while the authority runs.
//!
//! ```toml
//! [[node]]
//! id = "64 hexadecimal digits"    # `veilpost-mixnode init` prints it
//! role = "mix"                    # or "entry", "mailbox"
//! note = "Ada, Geneva"            # for you; nobody else sees it
//! ```

use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};
use veilpost_daemon::config::{self, ConfigError};
use veilpost_packet::ids::NodeId;
use veilpost_pki::{Role, vote::NODES_MAX};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "node", default)]
    nodes: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    id: NodeId,
    role: Role,
    #[serde(default, rename = "note")]
    _note: String,
}

/// Reads the list.
///
/// # Errors
/// [`ConfigError`] with file and line; also if an id stands twice.
pub fn load(path: &Path) -> Result<BTreeMap<NodeId, Role>, ConfigError> {
    let File { nodes } = config::load(path)?;
    let wrong = |what: String| ConfigError::Value { path: path.into(), key: "node", what };
    if nodes.len() > NODES_MAX {
        return Err(wrong(format!("at most {NODES_MAX} nodes can be listed")));
    }
    let mut admitted = BTreeMap::new();
    for node in nodes {
        if admitted.insert(node.id, node.role).is_some() {
            return Err(wrong(format!("the id {} stands twice", node.id)));
        }
    }
    Ok(admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<NodeId, Role>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    fn entry(byte: u8, role: &str) -> String {
        format!("[[node]]\nid = \"{}\"\nrole = \"{role}\"\nnote = \"n\"\n", NodeId([byte; 32]))
    }

    #[test]
    fn nodes_are_read_with_their_roles_and_an_empty_list_is_a_list() {
        let admitted = read(&(entry(1, "mix") + &entry(2, "mailbox"))).unwrap();
        assert_eq!(admitted.get(&NodeId([1; 32])), Some(&Role::Mix));
        assert_eq!(admitted.len(), 2);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn a_node_that_stands_twice_or_has_an_unknown_key_is_refused() {
        let twice = read(&(entry(1, "mix") + &entry(1, "entry"))).unwrap_err().to_string();
        assert!(twice.contains("twice"), "{twice}");
        let unknown = read(&(entry(1, "mix") + "wieght = 3\n")).unwrap_err().to_string();
        assert!(unknown.contains("wieght"), "{unknown}");
        assert!(read("[[node]]\nid = \"12\"\nrole = \"mix\"\n").is_err());
    }
}
