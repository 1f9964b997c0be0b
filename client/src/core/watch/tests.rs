use super::*;
use rand::Rng as _;
use std::sync::Arc;
use veilpost_packet::random::{EngineRng, pick, seeded};

const ENTRY: NodeId = NodeId([100; 32]);

/// A network of three layers and some mailboxes, and who in it loses packets.
struct Net {
    width: u8,
    mailboxes: u8,
    /// At each hop.
    honest: f64,
    /// Of all packets that the entry should pass on, there and back together, this share it does not.
    entry: f64,
    /// The entry drops what it should pass on to this mix.
    framed: Option<NodeId>,
    /// Packets that come to these stay there.
    dead: Vec<NodeId>,
}

impl Default for Net {
    fn default() -> Self {
        Self { width: 2, mailboxes: 3, honest: 0.01, entry: 0.0, framed: None, dead: Vec::new() }
    }
}

fn mix(layer: u8, number: u8) -> NodeId {
    NodeId([layer * 10 + number; 32])
}

fn mailbox(number: u8) -> NodeId {
    NodeId([40 + number; 32])
}

impl Net {
    fn command(&self, rng: &mut EngineRng) -> (Arc<[NodeId]>, bool) {
        let layers = |rng: &mut EngineRng| -> Vec<NodeId> {
            (1..=3).map(|layer| mix(layer, rng.random_range(0..self.width))).collect()
        };
        let (out, back) = (layers(rng), layers(rng));
        let boxes: Vec<_> = (0..self.mailboxes).map(mailbox).collect();
        let mailbox = *pick(rng, &boxes).unwrap();
        let route: Arc<[NodeId]> = [ENTRY].into_iter().chain(out).chain([mailbox]).chain(back).chain([ENTRY]).collect();
        let honest = (0..10).all(|_| !rng.random_bool(self.honest));
        let alive = !route.iter().any(|node| self.dead.contains(node)) && self.framed != Some(route[1]);
        (route, honest && alive && !rng.random_bool(self.entry))
    }

    fn evidence(&self, commands: u32, seed: u8) -> Evidence {
        let (mut rng, mut evidence) = (seeded([seed; 32]), Evidence::default());
        for _ in 0..commands {
            let (route, returned) = self.command(&mut rng);
            evidence.add(&route, returned);
        }
        evidence
    }

    /// What each window says, over some seeds.
    fn verdicts(&self) -> Vec<Verdict> {
        let seeds = 0..10;
        seeds.flat_map(|seed| WINDOWS.map(|window| judge(&self.evidence(window, seed), &ENTRY))).collect()
    }
}

#[test]
fn the_tail_is_that_of_the_tables() {
    // P(X >= 3) for n = 10, p = 0.1: 0.0701908; for n = 5, p = 0.5: 0.5.
    assert!((binomial_tail(10, 3, 0.1) - 0.070_190_8).abs() < 1e-7);
    assert!((binomial_tail(5, 3, 0.5) - 0.5).abs() < 1e-12);
    assert_eq!(binomial_tail(7, 0, 0.3), 1.0);
    assert!((binomial_tail(4, 4, 0.1) - 1e-4).abs() < 1e-12);
    assert!((HONEST - (1.0 - 0.99f64.powi(10))).abs() < 1e-8);
}

#[test]
fn honest_loss_raises_no_alarm_in_a_month_by_calculation() {
    // A look every ten seconds at each window, each counted as if it were independent of the others: more than there are.
    let looks = 30.0 * 86_400.0 / 10.0;
    let alarms: f64 =
        WINDOWS.into_iter().map(|window| binomial_tail(window.into(), critical(window.into()), HONEST) * looks).sum();
    assert!(alarms < 0.01, "{alarms} false alarms a month");
    // And under a loss of 1 % of commands far less.
    let lower: f64 =
        WINDOWS.into_iter().map(|window| binomial_tail(window.into(), critical(window.into()), 0.01) * looks).sum();
    assert!(lower < 1e-9, "{lower}");
}

#[test]
fn a_month_of_honest_loss_raises_no_alarm_in_any_of_several_seeds() {
    for (seed, loss) in [(1, HONEST), (2, HONEST), (3, HONEST), (4, 0.01)] {
        let mut rng = seeded([seed; 32]);
        let rate = veilpost_pki::Params::standard().rates(Default::default()).up();
        let month = (30.0 * 86_400.0 * rate) as usize;
        let lost: Vec<u32> = std::iter::once(0)
            .chain((0..month).scan(0, |sum, _| {
                *sum += u32::from(rng.random_bool(loss));
                Some(*sum)
            }))
            .collect();
        for window in WINDOWS.map(|window| window as usize) {
            let critical = critical(window as u64);
            // A look after every ninth command: one each ten seconds.
            let alarms = (window..=month).step_by(9).filter(|at| u64::from(lost[*at] - lost[at - window]) >= critical);
            assert_eq!(alarms.count(), 0, "seed {seed}, window {window}");
        }
    }
}

#[test]
fn an_entry_that_drops_what_passes_is_blamed_and_by_how_much() {
    // Of 20 seeds so many at least, in each window: by chance some nodes fare worse than others and are set aside, and a fifth or a
    // tenth is hard to see beside an honest tenth.
    for (drops, seen) in [(1.0, [20, 20, 20]), (0.5, [14, 18, 18]), (0.2, [0, 14, 16]), (0.1, [0, 4, 14])] {
        let net = Net { entry: drops, ..Net::default() };
        for (window, seen) in WINDOWS.into_iter().zip(seen) {
            let verdicts = (0..20).map(|seed| judge(&net.evidence(window, seed), &ENTRY));
            let lost: Vec<f64> = verdicts
                .filter_map(|verdict| match verdict {
                    Verdict::Entry(lost) => Some(lost),
                    Verdict::Fine | Verdict::Others => None,
                })
                .collect();
            assert!(lost.len() >= seen, "drops {drops}, {window} commands: {} of 20", lost.len());
            let truth = 1.0 - (1.0 - drops) * (1.0 - HONEST);
            assert!(lost.iter().all(|lost| (lost - truth).abs() < 0.25), "{lost:?}");
        }
    }
}

#[test]
fn a_dead_mix_or_mailbox_or_two_of_them_are_not_the_entrys_fault() {
    for dead in [
        vec![mix(1, 0)],
        vec![mix(2, 1)],
        vec![mix(3, 0)],
        vec![mailbox(1)],
        vec![mix(1, 0), mailbox(0)],
        vec![mix(1, 0), mix(3, 1)],
    ] {
        for honest in [0.0, 0.01] {
            let verdicts = Net { dead: dead.clone(), honest, ..Net::default() }.verdicts();
            assert!(verdicts.iter().all(|verdict| !matches!(verdict, Verdict::Entry(_))), "{dead:?}: {verdicts:?}");
        }
    }
}

#[test]
fn half_of_every_layer_dead_is_not_the_entrys_fault_once_there_are_a_thousand_commands() {
    let net = Net { dead: vec![mix(1, 0), mix(2, 0), mix(3, 0)], ..Net::default() };
    for window in [1_024, 4_096] {
        assert!((0..10).all(|seed| judge(&net.evidence(window, seed), &ENTRY) == Verdict::Others));
    }
}

#[test]
fn a_wider_network_with_a_dead_node_is_not_the_entrys_fault_either() {
    let net = Net { width: 5, mailboxes: 6, dead: vec![mix(1, 3), mailbox(4)], ..Net::default() };
    assert!(net.verdicts().iter().all(|verdict| !matches!(verdict, Verdict::Entry(_))));
}

#[test]
fn who_cannot_be_told_from_the_entry_takes_no_blame_to_it() {
    let net = Net { mailboxes: 1, dead: vec![mailbox(0)], ..Net::default() };
    assert!(net.verdicts().iter().all(|verdict| *verdict == Verdict::Others));
    let narrow = Net { width: 1, entry: 1.0, ..Net::default() };
    assert!(narrow.verdicts().iter().all(|verdict| *verdict == Verdict::Others));
}

#[test]
fn an_entry_that_drops_what_goes_to_one_mix_cannot_frame_it() {
    let net = Net { framed: Some(mix(1, 1)), ..Net::default() };
    for window in [1_024, 4_096] {
        for seed in 0..10 {
            let verdict = judge(&net.evidence(window, seed), &ENTRY);
            assert!(matches!(verdict, Verdict::Entry(_)), "{window} {seed}: {verdict:?}");
        }
    }
}

#[test]
fn before_96_commands_nobody_is_suspected() {
    let net = Net { width: 5, mailboxes: 6, entry: 1.0, ..Net::default() };
    assert_eq!(judge(&net.evidence(SAMPLE_MIN as u32 - 1, 1), &ENTRY), Verdict::Fine);
    assert!(matches!(judge(&net.evidence(SAMPLE_MIN as u32, 1), &ENTRY), Verdict::Entry(_)));
    assert_eq!(judge(&Evidence::default(), &ENTRY), Verdict::Fine);
}
