//! Numbers in the documents are those of the code.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use veilpost_packet::{boxes::BOX_CONTENT_MAX, geometry::*};
use veilpost_pki::Params;

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// 4096 as 4,096.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_table_of_sizes_is_the_geometry() {
    let text = document("ARCHITECTURE.md");
    let rows = [
        ("Sphinx header, payload, packet", vec![SPHINX_HEADER, SPHINX_PAYLOAD, PACKET]),
        ("frame: kind, flags, 2 reserved, body", vec![FRAME]),
        ("plaintext of a packet", vec![PLAINTEXT]),
        ("SURB (header, first hop, one seed)", vec![SURB]),
        ("command behind a SURB", vec![COMMAND]),
        ("box: ciphertext, plaintext, content", vec![BOX_CIPHERTEXT, BOX_PLAINTEXT, BOX_CONTENT_MAX]),
        ("digest without tags, each tag", vec![DIGEST_FIXED, DIGEST_TAG]),
    ];
    for (name, sizes) in rows {
        let sizes: Vec<_> = sizes.into_iter().map(grouped).collect();
        let row = format!("| {name} | {} |", sizes.join(", "));
        assert!(text.contains(&row), "ARCHITECTURE.md should say: {row}");
    }
}

#[test]
fn the_default_rates_are_those_of_the_parameters() {
    let params = Params::standard();
    let text = document("THREAT_MODEL.md");
    let row = format!(
        "send {} s (one tick in {} a Put slot), get {} s, loop {} s",
        params.send_gap.as_secs(),
        params.put_slot,
        params.get_gap.as_secs(),
        params.loop_gap.as_secs()
    );
    assert!(text.contains(&row), "THREAT_MODEL.md should say: {row}");
    let row = format!("hop delay {} ms", params.hop_delay.as_millis());
    assert!(text.contains(&row), "THREAT_MODEL.md should say: {row}");
}

#[test]
fn the_readme_names_the_two_commands() {
    let text = document("README.md");
    assert!(text.contains("make demo") && text.contains("make test"));
}
