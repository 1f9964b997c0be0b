//! Results in a folder: a file for each finished experiment, so that a run which was stopped goes on where it was, and all of them
//! together as CSV and as Apache Parquet.
//!
//! ```text
//! DIR/done/E2.json       the report of one experiment, and how it was made
//! DIR/results.csv        a row for each figure of all of them
//! DIR/results.parquet    the same
//! ```

use crate::{
    cost::SHARES,
    impossible::Impossible,
    report::{Report, Row},
};
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// How a report was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Made {
    /// What `git describe` says of the program's source; `unknown` outside of a checkout.
    pub commit: String,
    /// Version of the program.
    pub version: String,
    /// A hash of the experiment's file: parameters, cases and expectations.
    pub file: u64,
    /// Whether samples were small.
    pub quick: bool,
    /// Seeds, where they were given.
    pub seeds: Option<usize>,
    /// The first seed, where it was given.
    pub seed: Option<u64>,
    /// How long it took on the computer that made it.
    pub seconds: f64,
}

impl Made {
    /// By this program, of this experiment's file.
    pub fn now(file: &str, quick: bool, seeds: Option<usize>, seed: Option<u64>) -> Self {
        let mut hasher = DefaultHasher::new();
        file.hash(&mut hasher);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { commit: commit(), version, file: hasher.finish(), quick, seeds, seed, seconds: 0.0 }
    }

    /// Whether another run would give the same: never by a program with changes that no commit names.
    fn would_repeat(&self, other: &Self) -> bool {
        let named = !self.commit.ends_with(DIRTY) && self.commit != UNKNOWN;
        named && Self { seconds: other.seconds, ..self.clone() } == *other
    }
}

const DIRTY: &str = "-dirty";
const UNKNOWN: &str = "unknown";

fn commit() -> String {
    let describe = ["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"];
    let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(describe).output();
    let text = output.ok().filter(|output| output.status.success()).and_then(|it| String::from_utf8(it.stdout).ok());
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or_else(|| UNKNOWN.into())
}

/// A finished experiment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// How it was made.
    pub made: Made,
    /// What it says.
    pub report: Report,
}

/// A folder of results.
#[derive(Debug)]
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(folder: &Path) -> Result<Self, Impossible> {
        let results = Self { folder: folder.to_owned() };
        fs::create_dir_all(results.done()).map_err(|error| named(folder, error))?;
        Ok(results)
    }

    fn done(&self) -> PathBuf {
        self.folder.join("done")
    }

    /// What an experiment said before, if it would say the same again.
    pub fn find(&self, id: &str, made: &Made) -> Option<Report> {
        let finished = read(&self.done().join(format!("{id}.json"))).ok()?;
        made.would_repeat(&finished.made).then_some(finished.report)
    }

    /// Keeps a report, and writes the tables anew.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self, report: &Report, made: &Made) -> Result<(), Impossible> {
        let finished = Finished { made: made.clone(), report: report.clone() };
        let text = serde_json::to_vec_pretty(&finished).map_err(|error| named(&self.folder, error))?;
        self.write(&format!("done/{}.json", file_name(&report.id)), |to| to.write_all(&text))?;
        let all = self.all()?;
        self.write("results.csv", |to| write_csv(&all, to).map_err(io::Error::other))?;
        self.write("results.parquet", |to| write_parquet(&all, to).map_err(io::Error::other))
    }

    /// All that is finished, in order of their numbers.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn all(&self) -> Result<Vec<Finished>, Impossible> {
        let folder = self.done();
        let entries = fs::read_dir(&folder).map_err(|error| named(&folder, error))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut all = files.map(|path| read(&path)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|finished| number(&finished.report.id));
        Ok(all)
    }

    /// A file that is whole or not there.
    fn write(&self, name: &str, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Impossible> {
        let path = self.folder.join(name);
        let new = path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| content(&mut file).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(|error| named(&path, error))
    }
}

fn named(path: &Path, error: impl std::fmt::Display) -> Impossible {
    Impossible(format!("{}: {error}", path.display()))
}

/// An id from a person's file names no other folder.
fn file_name(id: &str) -> String {
    id.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

/// The place of an experiment among all.
fn number(id: &str) -> (u32, String) {
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(u32::MAX), id.to_owned())
}

fn read(path: &Path) -> Result<Finished, Impossible> {
    let bytes = fs::read(path).map_err(|error| named(path, error))?;
    let finished = serde_json::from_slice(&bytes);
    finished.map_err(|error| {
        named(path, format!("no result of this version ({error}); remove it to run the experiment again"))
    })
}

const COLUMNS: [&str; 17] = [
    "experiment",
    "what",
    "unit",
    "value",
    "low",
    "high",
    "n",
    "expected",
    "met",
    "megabytes",
    "p50",
    "p95",
    "p99",
    "quick",
    "seeds",
    "seed",
    "commit",
];

fn rows(all: &[Finished]) -> impl Iterator<Item = (&Finished, &Row)> {
    all.iter().flat_map(|finished| finished.report.rows.iter().map(move |row| (finished, row)))
}

/// In how many seconds one of [`SHARES`] is there.
fn seconds(row: &Row, share: usize) -> Option<f64> {
    row.cost?.seconds?.get(share).copied()
}

fn write_csv(all: &[Finished], to: impl Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(COLUMNS)?;
    let optional = |number: Option<String>| number.unwrap_or_default();
    for (Finished { made, report }, row) in rows(all) {
        writer.write_record([
            report.id.clone(),
            row.what.clone(),
            row.unit.clone(),
            row.value.to_string(),
            optional(row.interval.map(|(low, _)| low.to_string())),
            optional(row.interval.map(|(_, high)| high.to_string())),
            row.n.to_string(),
            row.expected.to_string(),
            row.met.to_string(),
            optional(row.cost.and_then(|cost| cost.megabytes).map(|it| it.to_string())),
            optional(seconds(row, 0).map(|it| it.to_string())),
            optional(seconds(row, 1).map(|it| it.to_string())),
            optional(seconds(row, 2).map(|it| it.to_string())),
            made.quick.to_string(),
            optional(made.seeds.map(|seeds| seeds.to_string())),
            optional(made.seed.map(|seed| seed.to_string())),
            made.commit.clone(),
        ])?;
    }
    writer.flush()?;
    Ok(())
}

/// As the CSV file has them; what is empty there is a number that is none here.
const SCHEMA: &str = "message results {
    REQUIRED BYTE_ARRAY experiment (UTF8);
    REQUIRED BYTE_ARRAY what (UTF8);
    REQUIRED BYTE_ARRAY unit (UTF8);
    REQUIRED DOUBLE value;
    REQUIRED DOUBLE low;
    REQUIRED DOUBLE high;
    REQUIRED INT64 n;
    REQUIRED BYTE_ARRAY expected (UTF8);
    REQUIRED BOOLEAN met;
    REQUIRED DOUBLE megabytes;
    REQUIRED DOUBLE p50;
    REQUIRED DOUBLE p95;
    REQUIRED DOUBLE p99;
    REQUIRED BOOLEAN quick;
    REQUIRED INT64 seeds;
    REQUIRED INT64 seed;
    REQUIRED BYTE_ARRAY commit (UTF8);
}";

fn write_parquet(all: &[Finished], to: impl Write + Send) -> Result<(), ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(to, schema, Arc::new(WriterProperties::builder().build()))?;
    let mut group = writer.next_row_group()?;
    let rows: Vec<_> = rows(all).collect();
    let text = |of: fn(&Finished, &Row) -> String| -> Vec<ByteArray> {
        rows.iter().map(|(finished, row)| ByteArray::from(of(finished, row).into_bytes())).collect()
    };
    let number = |of: fn(&Row) -> f64| -> Vec<f64> { rows.iter().map(|(_, row)| of(row)).collect() };
    let count = |of: fn(&Finished, &Row) -> u64| -> Vec<i64> {
        rows.iter().map(|(finished, row)| i64::try_from(of(finished, row)).unwrap_or(i64::MAX)).collect()
    };
    let flag = |of: fn(&Finished, &Row) -> bool| -> Vec<bool> {
        rows.iter().map(|(finished, row)| of(finished, row)).collect()
    };
    write::<ByteArrayType, _>(&mut group, &text(|finished, _| finished.report.id.clone()))?;
    write::<ByteArrayType, _>(&mut group, &text(|_, row| row.what.clone()))?;
    write::<ByteArrayType, _>(&mut group, &text(|_, row| row.unit.clone()))?;
    write::<DoubleType, _>(&mut group, &number(|row| row.value))?;
    write::<DoubleType, _>(&mut group, &number(|row| row.interval.map_or(f64::NAN, |(low, _)| low)))?;
    write::<DoubleType, _>(&mut group, &number(|row| row.interval.map_or(f64::NAN, |(_, high)| high)))?;
    write::<Int64Type, _>(&mut group, &count(|_, row| row.n))?;
    write::<ByteArrayType, _>(&mut group, &text(|_, row| row.expected.to_string()))?;
    write::<BoolType, _>(&mut group, &flag(|_, row| row.met))?;
    write::<DoubleType, _>(&mut group, &number(|row| row.cost.and_then(|cost| cost.megabytes).unwrap_or(f64::NAN)))?;
    for share in 0..SHARES.len() {
        let times = rows.iter().map(|(_, row)| seconds(row, share).unwrap_or(f64::NAN));
        write::<DoubleType, _>(&mut group, &times.collect::<Vec<_>>())?;
    }
    write::<BoolType, _>(&mut group, &flag(|finished, _| finished.made.quick))?;
    write::<Int64Type, _>(&mut group, &count(|finished, _| finished.made.seeds.unwrap_or(0) as u64))?;
    write::<Int64Type, _>(&mut group, &count(|finished, _| finished.made.seed.unwrap_or(0)))?;
    write::<ByteArrayType, _>(&mut group, &text(|finished, _| finished.made.commit.clone()))?;
    group.close()?;
    writer.close()?;
    Ok(())
}

fn write<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("a column is missing".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

#[cfg(test)]
mod tests;
