//! The direction of imports: ARCHITECTURE.md draws the arrows, this checks them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Each crate, and the crates of this workspace that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("link", &["packet"]),
    ("pki", &["packet"]),
    ("cover", &["packet", "pki"]),
    ("onion", &["pki"]),
    ("daemon", &["packet", "link", "pki", "cover", "onion"]),
    ("directory", &["packet", "link", "pki", "daemon"]),
    ("mixnode", &["packet", "link", "pki", "cover", "daemon"]),
    ("mailbox", &["packet", "link", "pki", "cover", "daemon"]),
    ("client", &["packet", "link", "pki", "cover", "onion"]),
    ("lab", &["packet", "pki", "cover", "daemon", "mixnode", "mailbox", "client"]),
];

/// Crates without IO, and what none of their dependencies may be.
const PURE: &[&str] = &["veilpost-packet", "veilpost-pki", "veilpost-cover"];
const IO: &[&str] = &["tokio", "quinn", "rustls", "mio", "socket2", "async-std", "sled", "rusqlite"];

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(cargo).args(arguments).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).unwrap();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().trim_start_matches("veilpost-").to_owned();
        let normal =
            package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        let ours = normal.filter_map(|dependency| dependency["name"].as_str()?.strip_prefix("veilpost-"));
        found.insert(name, ours.map(str::to_owned).collect::<BTreeSet<_>>());
    }
    for (name, allowed) in ARROWS {
        let imports = found.get(*name).unwrap_or_else(|| panic!("the workspace has no crate {name}"));
        let foreign: Vec<_> = imports.iter().filter(|import| !allowed.contains(&import.as_str())).collect();
        assert!(foreign.is_empty(), "{name} must not import {foreign:?}");
    }
}

#[test]
fn pure_crates_drag_in_nothing_that_does_io() {
    for package in PURE {
        let tree =
            cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--offline", "--no-default-features"]);
        let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let io: Vec<_> = IO.iter().filter(|name| names.contains(**name)).collect();
        assert!(io.is_empty(), "{package} drags in {io:?}");
    }
}

#[test]
fn engines_without_their_daemons_drag_in_no_network() {
    for package in ["veilpost-mixnode", "veilpost-mailbox"] {
        let tree =
            cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--offline", "--no-default-features"]);
        assert!(!tree.lines().any(|line| line.starts_with("tokio ") || line.starts_with("quinn ")), "{package}");
    }
}
