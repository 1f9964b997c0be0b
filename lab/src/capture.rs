//! What a passive observer of links wrote down: when, from whom, to whom, how many bytes. One file format for simulations and real
//! networks, so that an attack reads either: Apache Parquet, which data frames of every language open.
//!
//! ```text
//! columns    time_ns INT64 (since 1970), from INT32, to INT32 (indices of endpoints), size INT32 (bytes)
//! metadata   "veilpost.capture": a Header as JSON
//! ```

use parquet::{
    data_type::{DataType, Int32Type, Int64Type},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use serde::{Deserialize, Serialize};
use std::{io::Write, sync::Arc};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Rows of one capture at most: 20 bytes each in memory.
pub const ROWS_MAX: usize = 200_000_000;
/// Rows of one row group.
const GROUP: usize = 1 << 20;
const KEY: &str = "veilpost.capture";
const SCHEMA: &str = "message capture {
    REQUIRED INT64 time_ns;
    REQUIRED INT32 from;
    REQUIRED INT32 to;
    REQUIRED INT32 size;
}";

/// A capture could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file is no Parquet file, or damaged, or the disk fails.
    #[error("the capture cannot be read or written: {0}")]
    File(#[from] parquet::errors::ParquetError),
    /// Parquet, but none of ours.
    #[error("this file is no capture: {0}")]
    Foreign(&'static str),
    /// Another version of the format.
    #[error("this capture has version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// More rows than fit.
    #[error("this capture has more than {ROWS_MAX} rows")]
    TooLong,
}

/// Where a capture is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The engines in virtual time.
    Simulation,
    /// Real processes and sockets.
    Testnet,
}

/// What a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A frame of the link protocol.
    Frame,
    /// A UDP datagram with its IP and UDP headers.
    Datagram,
}

/// Someone at the end of links.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// How the network's files call it.
    pub name: String,
    /// `client`, `entry`, `mix`, `mailbox` or `authority`.
    pub role: String,
}

/// Something that the observer does not see and the experiment knows: the truth to compare guesses with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Whom it concerns, as an index of the endpoints.
    pub endpoint: u32,
    /// What happened, such as `received`.
    pub what: String,
}

/// What a capture says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Where it is from.
    pub source: Source,
    /// What a row is.
    pub unit: Unit,
    /// The seed of a simulation.
    pub seed: Option<u64>,
    /// Those at the ends of links.
    pub endpoints: Vec<Endpoint>,
    /// The truth.
    pub marks: Vec<Mark>,
}

/// A row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Index of an endpoint.
    pub from: u32,
    /// Index of an endpoint.
    pub to: u32,
    /// Bytes.
    pub size: u32,
}

/// A capture in memory, its rows in order of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    /// What it says of itself.
    pub header: Header,
    /// What was seen.
    pub rows: Vec<Row>,
}

impl Capture {
    /// The index of an endpoint.
    pub fn endpoint(&self, name: &str) -> Option<u32> {
        let at = self.header.endpoints.iter().position(|endpoint| endpoint.name == name)?;
        u32::try_from(at).ok()
    }

    /// Times in seconds and sizes of what left an endpoint (`true`) or came to it.
    pub fn of(&self, endpoint: u32, leaving: bool) -> impl Iterator<Item = (f64, u32)> {
        let concerns = move |row: &&Row| if leaving { row.from == endpoint } else { row.to == endpoint };
        self.rows.iter().filter(concerns).map(|row| (row.time_ns as f64 / 1e9, row.size))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn write(&self, to: impl Write + Send) -> Result<(), CaptureError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let header = serde_json::to_string(&self.header).map_err(|_| CaptureError::Foreign("its header"))?;
        let metadata = vec![KeyValue::new(KEY.to_owned(), header)];
        let properties = Arc::new(WriterProperties::builder().set_key_value_metadata(Some(metadata)).build());
        let mut writer = SerializedFileWriter::new(to, schema, properties)?;
        for rows in self.rows.chunks(GROUP) {
            let mut group = writer.next_row_group()?;
            let times: Vec<i64> = rows.iter().map(|row| row.time_ns).collect();
            write_column::<Int64Type, _>(&mut group, &times)?;
            for field in [|row: &Row| row.from, |row: &Row| row.to, |row: &Row| row.size] {
                let values: Vec<i32> = rows.iter().map(|row| field(row).cast_signed()).collect();
                write_column::<Int32Type, _>(&mut group, &values)?;
            }
            group.close()?;
        }
        writer.close()?;
        Ok(())
    }

    /// Reads a file and checks that it is a capture of this version, all of it.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn read(from: impl ChunkReader + 'static) -> Result<Self, CaptureError> {
        // The crate asserts on offsets in a file's footer that it has just read.
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Self::read_trusting(from)));
        read.unwrap_or(Err(CaptureError::Foreign("it is damaged")))
    }

    fn read_trusting(from: impl ChunkReader + 'static) -> Result<Self, CaptureError> {
        let reader = SerializedFileReader::new(from)?;
        let file = reader.metadata().file_metadata();
        let header = file.key_value_metadata().and_then(|all| all.iter().find(|pair| pair.key == KEY));
        let header = header.and_then(|pair| pair.value.as_deref()).ok_or(CaptureError::Foreign("it has no header"))?;
        // The version first: another one may have other fields.
        let version: Version = serde_json::from_str(header).map_err(|_| CaptureError::Foreign("its header"))?;
        if version.version != VERSION {
            return Err(CaptureError::Version(version.version));
        }
        let header: Header = serde_json::from_str(header).map_err(|_| CaptureError::Foreign("its header"))?;
        if file.schema_descr().root_schema() != &parse_message_type(SCHEMA)? {
            return Err(CaptureError::Foreign("other columns"));
        }
        let mut rows = Vec::new();
        for number in 0..reader.num_row_groups() {
            let group = reader.get_row_group(number)?;
            let count = usize::try_from(group.metadata().num_rows()).map_err(|_| CaptureError::TooLong)?;
            if rows.len().saturating_add(count) > ROWS_MAX {
                return Err(CaptureError::TooLong);
            }
            read_group(&*group, count, &mut rows)?;
        }
        let known = |index: u32| usize::try_from(index).is_ok_and(|index| index < header.endpoints.len());
        if !rows.iter().all(|row| known(row.from) && known(row.to)) {
            return Err(CaptureError::Foreign("a row names an endpoint that is not listed"));
        }
        if !header.marks.iter().all(|mark| known(mark.endpoint)) {
            return Err(CaptureError::Foreign("a mark names an endpoint that is not listed"));
        }
        if !rows.is_sorted_by_key(|row| row.time_ns) {
            return Err(CaptureError::Foreign("its rows are not in order of time"));
        }
        Ok(Self { header, rows })
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<(), CaptureError> {
    let mut column = group.next_column()?.ok_or(CaptureError::Foreign("a column is missing"))?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()?;
    Ok(())
}

fn read_column<T: DataType>(group: &dyn RowGroupReader, at: usize, count: usize) -> Result<Vec<T::T>, CaptureError> {
    let mut column = parquet::column::reader::get_typed_column_reader::<T>(group.get_column_reader(at)?);
    let mut values = Vec::new();
    let (records, ..) = column.read_records(count, None, None, &mut values)?;
    if records == count && values.len() == count {
        Ok(values)
    } else {
        Err(CaptureError::Foreign("columns of unequal length"))
    }
}

fn read_group(group: &dyn RowGroupReader, count: usize, rows: &mut Vec<Row>) -> Result<(), CaptureError> {
    let times = read_column::<Int64Type>(group, 0, count)?;
    let [from, to, size] = [1, 2, 3].map(|at| read_column::<Int32Type>(group, at, count));
    let (from, to, size) = (from?, to?, size?);
    let ends = from.into_iter().zip(to).map(|(from, to)| (from.cast_unsigned(), to.cast_unsigned()));
    let all = times.into_iter().zip(ends).zip(size);
    rows.extend(all.map(|((time_ns, (from, to)), size)| Row { time_ns, from, to, size: size.cast_unsigned() }));
    Ok(())
}

#[cfg(test)]
mod tests;
