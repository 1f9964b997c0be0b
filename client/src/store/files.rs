//! Bytes of attachments, in pieces, so that a transfer resumes where it stopped and a commit never rewrites a whole file.

use super::StoreError;
use rusqlite::{Connection, OptionalExtension as _};

/// Largest file, bytes.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(i64);

impl FileId {
    /// From a number that [`FileId::get`] gave, for the core's own tables.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// A file's outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileShape {
    /// Bytes in all.
    pub size: u64,
    /// Bytes of every piece but the last.
    pub piece_size: u32,
    /// How many pieces: `size / piece_size`, rounded up.
    pub pieces: u32,
    /// SHA-256 of the whole.
    pub sha256: [u8; 32],
}

impl FileShape {
    /// The outline of a file of `size` bytes. `None` if it is empty-pieced (`piece_size` 0) or above [`MAX_FILE`].
    pub fn new(size: u64, piece_size: u32, sha256: [u8; 32]) -> Option<Self> {
        if piece_size == 0 || size > MAX_FILE {
            return None;
        }
        let pieces = u32::try_from(size.div_ceil(u64::from(piece_size))).ok()?;
        Some(Self { size, piece_size, pieces, sha256 })
    }

    /// How long piece `number` must be; `None` if there is no such piece.
    pub fn piece_len(&self, number: u32) -> Option<usize> {
        let start = u64::from(number) * u64::from(self.piece_size);
        let left = self.size.checked_sub(start).filter(|_| number < self.pieces)?;
        usize::try_from(left.min(u64::from(self.piece_size))).ok()
    }
}

/// Makes room for a file; no bytes yet.
///
/// # Errors
/// The database's.
pub fn create(connection: &Connection, shape: &FileShape) -> Result<FileId, StoreError> {
    let mut statement =
        connection.prepare_cached("INSERT INTO files (size, piece_size, pieces, sha256) VALUES (?1, ?2, ?3, ?4)")?;
    let size = i64::try_from(shape.size).map_err(|_| StoreError::InvalidRow("file size"))?;
    Ok(FileId(statement.insert((size, shape.piece_size, shape.pieces, shape.sha256))?))
}

/// The outline of a file.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn shape(connection: &Connection, id: FileId) -> Result<FileShape, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT size, piece_size, pieces, sha256 FROM files WHERE id = ?1")?;
    let row = statement.query_row([id.0], |row| {
        Ok(FileShape {
            size: row.get::<_, i64>(0)?.unsigned_abs(),
            piece_size: row.get(1)?,
            pieces: row.get(2)?,
            sha256: row.get(3)?,
        })
    });
    row.optional()?.ok_or(StoreError::Missing("file"))
}

/// Writes one piece; false if it was there already, and then it stays as it is.
///
/// # Errors
/// [`StoreError::InvalidRow`] if there is no such piece or it has another length.
pub fn put_piece(connection: &Connection, id: FileId, number: u32, bytes: &[u8]) -> Result<bool, StoreError> {
    if shape(connection, id)?.piece_len(number) != Some(bytes.len()) {
        return Err(StoreError::InvalidRow("file piece"));
    }
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO file_pieces (file, number, bytes) VALUES (?1, ?2, ?3)")?;
    Ok(statement.execute((id.0, number, bytes))? == 1)
}

/// Reads one piece, if it is there.
///
/// # Errors
/// The database's.
pub fn piece(connection: &Connection, id: FileId, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM file_pieces WHERE file = ?1 AND number = ?2")?;
    Ok(statement.query_row((id.0, number), |row| row.get(0)).optional()?)
}

/// How many pieces are there.
///
/// # Errors
/// The database's.
pub fn pieces_present(connection: &Connection, id: FileId) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM file_pieces WHERE file = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0))?)
}

/// The whole file, if every piece is there. The caller checks the hash. At most [`MAX_FILE`] bytes.
///
/// # Errors
/// [`StoreError::Missing`] if the file is unknown.
pub fn read_all(connection: &Connection, id: FileId) -> Result<Option<Vec<u8>>, StoreError> {
    let shape = shape(connection, id)?;
    let size = usize::try_from(shape.size.min(MAX_FILE)).unwrap_or(0);
    let mut whole = Vec::with_capacity(size);
    let mut statement = connection.prepare_cached("SELECT bytes FROM file_pieces WHERE file = ?1 ORDER BY number")?;
    let mut rows = statement.query([id.0])?;
    while let Some(row) = rows.next()? {
        whole.extend_from_slice(row.get_ref(0)?.as_blob().map_err(|_| StoreError::InvalidRow("file piece"))?);
    }
    Ok((whole.len() == size).then_some(whole))
}

/// Cuts `bytes` into pieces and writes them all: a file of our own that is about to be sent.
///
/// # Errors
/// [`StoreError::InvalidRow`] if the shape is not that of `bytes`.
pub fn put_all(connection: &Connection, shape: &FileShape, bytes: &[u8]) -> Result<FileId, StoreError> {
    if shape.size != bytes.len() as u64 {
        return Err(StoreError::InvalidRow("file size"));
    }
    let id = create(connection, shape)?;
    for (number, piece) in (0u32..).zip(bytes.chunks(shape.piece_size as usize)) {
        put_piece(connection, id, number, piece)?;
    }
    Ok(id)
}

/// Removes a file and its bytes. No message may refer to it any more.
///
/// # Errors
/// The database's.
pub fn remove(connection: &Connection, id: FileId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM files WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}
