//! Does nothing. Without it cargo would not look at `[build-dependencies]`, which are there for their features: see Cargo.toml.

fn main() {}
