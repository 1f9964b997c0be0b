//! A real box takes the place of a decoy on the get clock too, so that how long a box waits to be read does not show whether more
//! comes for its reader than for others.
//!
//! Whoever reads a file would have twice as many boxes to ask for as who reads nothing, and mailboxes would see that those boxes,
//! and the decoys among them, are older when they are asked for. So each real box that a digest names lets one decoy that is named
//! later be read as by somebody who is away. A real box that was written took a decoy's Put slot: that decoy is not there to be read,
//! and one real box comes in its place.

/// Boxes that the balance remembers at most, either way: what came an hour ago says nothing about the queue of now. More than
/// enough for the draws of one file: its boxes and decoys come at the same rate.
const MEMORY: i32 = 16;

/// Real boxes that were named, less real boxes that were written and decoys that gave way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance(i32);

impl Balance {
    /// A digest named a real box.
    pub fn handle_named(&mut self) {
        self.0 = (self.0 + 1).min(MEMORY);
    }

    /// A real box was written for the first time, in a decoy's place.
    pub fn handle_written(&mut self) {
        self.0 = (self.0 - 1).max(-MEMORY);
    }

    /// A digest named a decoy; true if it gives way to a real box.
    pub fn gives_way(&mut self) -> bool {
        let gives_way = self.0 > 0;
        self.0 -= i32::from(gives_way);
        gives_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_real_box_lets_one_decoy_give_way() {
        let mut balance = Balance::default();
        assert!(!balance.gives_way());
        balance.handle_named();
        assert!(balance.gives_way());
        assert!(!balance.gives_way());
    }

    #[test]
    fn a_written_box_is_a_decoy_that_is_not_there_to_give_way() {
        let mut balance = Balance::default();
        balance.handle_written();
        balance.handle_named();
        assert!(!balance.gives_way());
        balance.handle_named();
        assert!(balance.gives_way());
    }

    #[test]
    fn what_is_remembered_is_bounded_either_way() {
        let mut balance = Balance::default();
        (0..1_000).for_each(|_| balance.handle_named());
        assert_eq!((0..1_000).filter(|_| balance.gives_way()).count(), MEMORY as usize);
        (0..1_000).for_each(|_| balance.handle_written());
        (0..MEMORY).for_each(|_| balance.handle_named());
        assert!(!balance.gives_way());
        balance.handle_named();
        assert!(balance.gives_way());
    }
}
