//! One reader and one writer for every format of the project. Reading never panics, never allocates more than the caller
//! names, and a top-level decoder ends with [`Reader::finish`], so that trailing bytes are refused.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends before the field does.
    #[error("too short")]
    Truncated,
    /// Bytes are left over behind the last field.
    #[error("trailing bytes")]
    Trailing,
    /// A field has a value that the format does not know; the word names the field.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A length or count is above its bound; the word names the field.
    #[error("{0} above its bound")]
    TooLong(&'static str),
}

/// Result of a decoder.
pub type Result<T> = std::result::Result<T, DecodeError>;

/// Reads fields from the front of a slice. Integers are big-endian.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A u16 length and that many bytes, at most `bound`; `field` names it in the error.
    pub fn bytes16(&mut self, bound: usize, field: &'static str) -> Result<&'a [u8]> {
        let length = usize::from(self.u16()?);
        if length > bound {
            return Err(DecodeError::TooLong(field));
        }
        self.take(length)
    }

    /// A u16 length and that many bytes of UTF-8, at most `bound` bytes.
    pub fn text16(&mut self, bound: usize, field: &'static str) -> Result<&'a str> {
        std::str::from_utf8(self.bytes16(bound, field)?).map_err(|_| DecodeError::Invalid(field))
    }

    /// A u32 count, at most `bound`. Callers may allocate for what it returns.
    pub fn count(&mut self, bound: usize, field: &'static str) -> Result<usize> {
        let count = self.u32()? as usize;
        if count > bound { Err(DecodeError::TooLong(field)) } else { Ok(count) }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Refuses trailing bytes.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// Refuses anything but zero bytes behind the last field: the padding of formats of one size.
    pub fn finish_padding(self) -> Result<()> {
        if self.rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Appends fields to a buffer. Integers are big-endian.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity) }
    }

    /// Appends bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Appends a u16 length and the bytes.
    ///
    /// # Panics
    /// If there are more than 65,535 bytes: the caller bounds what it writes, as the reader of the field does.
    pub fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len()).expect("the caller keeps the field's bound, which is below 64 KiB");
        self.u16(length).put(bytes)
    }

    /// Appends zero bytes until the buffer is `length` long; does nothing if it is that long already.
    pub fn pad_to(&mut self, length: usize) -> &mut Self {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        self
    }

    /// The buffer.
    pub fn finish(self) -> Vec<u8> {
        self.buffer
    }
}
