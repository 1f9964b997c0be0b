//! Kinds of measurement: a set of parameters with defaults, checked, and what is measured with them. Files of experiments, the
//! command line and sweeps all run these and nothing else.
//!
//! To add one: a struct with defaults that implements [`Measure`], and a line for it in [`Kind`] and in each function below it.

mod entropy;
mod likelihood;
mod matching;
mod pairing;
mod routes;
mod single_mix;
mod sticky;

pub use entropy::Entropy;
pub use likelihood::Likelihood;
pub use matching::Matching;
pub use pairing::Pairing;
pub use routes::Routes;
pub use single_mix::SingleMix;
pub use sticky::Sticky;

use crate::{
    cost::Cost,
    experiments::{Options, over_seeds},
    impossible::{Checked, Impossible},
    statistics::Interval,
};
use clap::Subcommand;
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// How a measurement runs. The figures depend on the seed and the parameters, not on the threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

/// Something measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Its name, such as `mean_bits`.
    pub name: &'static str,
    /// Its unit, such as `bits`; empty for shares and counts.
    pub unit: &'static str,
    /// The figure.
    pub value: f64,
    /// Its 95 % interval; `None` where the figure is exact or has none.
    pub interval: Option<(f64, f64)>,
    /// Size of the sample; 0 for what is calculated.
    pub n: usize,
}

impl Figure {
    /// Without an interval.
    pub fn new(name: &'static str, unit: &'static str, value: f64, n: usize) -> Self {
        Self { name, unit, value, interval: None, n }
    }

    /// With one; none of an empty sample, whose figure is not a number.
    pub fn mean(name: &'static str, unit: &'static str, value: Option<Interval>, n: usize) -> Self {
        let interval = value.map(|interval| (interval.low, interval.high));
        Self { name, unit, value: value.map_or(f64::NAN, |interval| interval.value), interval, n }
    }
}

/// A set of parameters that something can be measured with.
pub trait Measure {
    /// Whether there can be such a thing.
    ///
    /// # Errors
    /// The parameter that cannot be, in words for a person.
    fn check(&self) -> Checked;

    /// What the network costs; `None` where no packets are sent. The parameters are checked before.
    fn cost(&self) -> Option<Cost> {
        None
    }

    /// Measures. The parameters are checked before.
    ///
    /// # Errors
    /// What only shows on the way, such as a mix whose queue was full.
    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible>;
}

/// All kinds with their parameters.
#[derive(Clone, PartialEq, Debug, Subcommand)]
pub enum Kind {
    /// Among how many packets a packet hides from who watches all links and has some mixes.
    #[command(
        after_help = "Example, with a mean delay of 0.2667 s at each mix:\n  veilpost-lab entropy --rate 5000 --layers 3 \
        --width 10 --delay-per-hop 0.2667 --corrupt 0.1 --targets 500 --json"
    )]
    Entropy(Entropy),
    /// How well two senders' packets are told apart in the last layer.
    #[command(
        after_help = "Example, with 2 packets a second of each sender:\n  veilpost-lab likelihood --senders 100 --rate 2 --layers 3 \
        --width 3 --delay-per-hop 1 --json"
    )]
    Likelihood(Likelihood),
    /// How well flows that leave the network are matched with those that came in.
    #[command(
        after_help = "Example, with a mean delay of 20 ms at each mix:\n  veilpost-lab matching --flows 150 --observations 100 \
        --cover true --delay-per-hop 0.02 --json"
    )]
    Matching(Matching),
    /// How much better than a coin \"first in, first out\" is for two users' packets.
    #[command(
        after_help = "Example, with a packet each 10 s and a mean delay of 1 s:\n  veilpost-lab pairing --user-rate 0.1 \
        --delay-per-hop 1 --layers 3 --json"
    )]
    Pairing(Pairing),
    /// How likely a route is that has corrupt mixes alone.
    #[command(
        after_help = "Example, with 20 corrupt mixes of 100 in 4 layers:\n  veilpost-lab routes --nodes 100 --corrupt 20 \
        --layers 4 --packets 1000 --json"
    )]
    Routes(Routes),
    /// Among how many packets a departure from one mix hides.
    #[command(
        after_help = "Example, with 10 packets during a mean delay:\n  veilpost-lab single-mix --ratio 10 --departures 100000 --json"
    )]
    SingleMix(SingleMix),
    /// How many clients ever take a route of corrupt mixes alone.
    #[command(
        after_help = "Example, with one route in ten through a corrupt mix in each layer:\n  veilpost-lab sticky --corrupt 0.1 \
        --width 30 --sticky true --packets 20000 --json"
    )]
    Sticky(Sticky),
}

/// Names of all kinds, as files and the command line write them.
pub const KINDS: [&str; 7] = ["entropy", "likelihood", "matching", "pairing", "routes", "single-mix", "sticky"];

impl Kind {
    /// A kind with these parameters, and defaults for all others; checked.
    ///
    /// # Errors
    /// A kind or a parameter that there is not, or that cannot be.
    pub fn new(kind: &str, parameters: Table) -> Result<Self, Impossible> {
        let kind = match kind {
            "entropy" => Self::Entropy(read(parameters)?),
            "likelihood" => Self::Likelihood(read(parameters)?),
            "matching" => Self::Matching(read(parameters)?),
            "pairing" => Self::Pairing(read(parameters)?),
            "routes" => Self::Routes(read(parameters)?),
            "single-mix" => Self::SingleMix(read(parameters)?),
            "sticky" => Self::Sticky(read(parameters)?),
            _ => {
                return Err(Impossible(format!("there is no kind `{kind}`; there are {}", KINDS.join(", "))));
            }
        };
        kind.check()?;
        Ok(kind)
    }

    fn measure(&self) -> &dyn Measure {
        match self {
            Self::Entropy(measure) => measure,
            Self::Likelihood(measure) => measure,
            Self::Matching(measure) => measure,
            Self::Pairing(measure) => measure,
            Self::Routes(measure) => measure,
            Self::SingleMix(measure) => measure,
            Self::Sticky(measure) => measure,
        }
    }
}

impl Measure for Kind {
    fn check(&self) -> Checked {
        self.measure().check()
    }

    fn cost(&self) -> Option<Cost> {
        self.check().ok().and_then(|()| self.measure().cost())
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        self.check()?;
        self.measure().run(run)
    }
}

/// A person writes 5000 where 5000.0 is meant.
fn read<T: DeserializeOwned>(parameters: Table) -> Result<T, Impossible> {
    Value::Table(parameters).try_into().map_err(|error: toml::de::Error| Impossible(error.message().to_owned()))
}

/// The same in place of defaults, at any depth: a table within the table changes what it names and nothing beside it.
pub(crate) fn read_over_defaults<T: Default + Serialize + DeserializeOwned>(given: Table) -> Result<T, Impossible> {
    let defaults = Table::try_from(T::default()).map_err(|error| Impossible(error.to_string()))?;
    read(merged(defaults, given))
}

fn merged(mut below: Table, above: Table) -> Table {
    for (name, value) in above {
        let value = match (below.remove(&name), value) {
            (Some(Value::Table(known)), Value::Table(given)) => Value::Table(merged(known, given)),
            (_, value) => value,
        };
        below.insert(name, value);
    }
    below
}

/// Gathers a sample in chunks on all threads, each with a seed of its own, in their order.
fn chunks<T: Send>(
    run: &Run,
    wanted: usize,
    chunk: usize,
    one: impl Fn([u8; 32], usize) -> Result<Vec<T>, Impossible> + Sync,
) -> Result<Vec<T>, Impossible> {
    let count = wanted.div_ceil(chunk);
    let options = Options { first: 0, seeds: count, threads: run.threads.min(count), progress: false };
    let size = |number: usize| (wanted - number * chunk).min(chunk);
    let found = over_seeds(&options, |number| one(seed(run.seed, number), size(number as usize)));
    Ok(found.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The seed of one chunk.
fn seed(seed: u64, chunk: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    let numbers = [seed, chunk].into_iter().flat_map(u64::to_be_bytes);
    bytes.iter_mut().zip(numbers).for_each(|(byte, number)| *byte = number);
    bytes
}

#[cfg(test)]
mod tests;
