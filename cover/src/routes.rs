//! The ways of a node's own loops: halves of the ways of clients' commands and answers, so that no neighbour can tell them.
//!
//! ```text
//! entry:    layer 1, 2, 3, mailbox  |  layer 1, 2, 3, itself
//! layer 1:  layer 2, 3, mailbox     |  itself
//! layer 2:  layer 3, mailbox        |  layer 1, itself
//! layer 3:  mailbox                 |  layer 1, 2, itself
//! mailbox:  layer 1, 2, 3, another  |  layer 1, 2, 3, itself
//! ```

use rand::RngCore;
use veilpost_packet::{
    geometry::MIX_LAYERS,
    ids::NodeId,
    random::{one_in, pick},
    sphinx::Hop,
};
use veilpost_pki::{
    View,
    document::{Place, Relay},
    topology::weighted,
};

/// One loop in this many is drawn without regard to weights: otherwise nobody would notice that a mix which nobody uses works again.
pub const PROBE: u32 = 8;

/// The hops there and back of one loop of the node `me`; `None` if the document does not list it, or a layer has no weight.
pub fn draw(rng: &mut impl RngCore, view: &View, me: &NodeId) -> Option<(Vec<Hop>, Vec<Hop>)> {
    let (place, own) = view.relays().find(|(_, relay)| relay.id == *me)?;
    let probe = one_in(rng, PROBE);
    let layers = MIX_LAYERS as u8;
    let (there, back) = match place {
        Place::Entry | Place::Mailbox => (1..=layers, 1..=layers),
        Place::Mix(layer) => (layer + 1..=layers, 1..=layer.saturating_sub(1)),
    };
    let mut mixes = |layers: std::ops::RangeInclusive<u8>| -> Option<Vec<Hop>> {
        layers.map(|layer| mix(rng, view, layer, probe).map(Relay::hop)).collect()
    };
    let (mut there, mut back) = (mixes(there)?, mixes(back)?);
    // Boxes lie on mailboxes without regard to weights, and so do the commands of real traffic.
    let others: Vec<&Relay> = view.mailboxes.iter().filter(|mailbox| mailbox.id != *me).collect();
    let mailbox = pick(rng, &others).copied().unwrap_or(own);
    there.push(mailbox.hop());
    back.push(own.hop());
    Some((there, back))
}

fn mix<'a>(rng: &mut impl RngCore, view: &'a View, layer: u8, probe: bool) -> Option<&'a Relay> {
    let mixes = view.layers.get(usize::from(layer).checked_sub(1)?)?;
    if probe { pick(rng, mixes) } else { weighted(rng, mixes) }
}
