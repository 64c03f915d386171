//! Length-prefixed little-endian encoding shared by the library and the shim.
//!
//! The reader never trusts a length: every read is bounded by what is left, and a short or
//! oversized field is an error, never a panic.

/// What was wrong with an encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// The message ended in the middle of a field.
    Truncated,
    /// A text field was not UTF-8.
    NotUtf8,
    /// A tag or enum value this version does not know.
    Unknown(u32),
}

impl core::fmt::Display for CodecError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("message ended in the middle of a field"),
            Self::NotUtf8 => f.write_str("text field is not UTF-8"),
            Self::Unknown(tag) => write!(f, "unknown tag {tag}"),
        }
    }
}

impl std::error::Error for CodecError {}

/// Appends fields to a byte buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts an empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Appends a 32-bit number.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a 64-bit number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Appends bytes with their length.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let len = u32::try_from(value.len()).expect("fields stay under 4 GiB");
        self.u32(len);
        self.bytes.extend_from_slice(value);
        self
    }

    /// Appends text with its length.
    pub fn str(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// Appends a list: its length, then each item by `each`.
    pub fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) -> &mut Self {
        let len = u32::try_from(items.len()).expect("lists stay under 4 Gi items");
        self.u32(len);
        for item in items {
            each(self, item);
        }
        self
    }

    /// Appends an optional value: a truth value, then the value by `each`.
    pub fn option<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
        self
    }

    /// Returns the message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads fields from a byte slice.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        if len > self.rest.len() {
            return Err(CodecError::Truncated);
        }
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        Ok(head)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    /// Reads a 32-bit number.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        let bytes = self
            .take(4)?
            .try_into()
            .map_err(|_| CodecError::Truncated)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a 64-bit number.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        let bytes = self
            .take(8)?
            .try_into()
            .map_err(|_| CodecError::Truncated)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a truth value; anything but 0 and 1 is an error.
    pub fn bool(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::Unknown(u32::from(other))),
        }
    }

    /// Reads bytes with their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| CodecError::Truncated)?)
    }

    /// Reads text with its length.
    pub fn str(&mut self) -> Result<&'a str, CodecError> {
        core::str::from_utf8(self.bytes()?).map_err(|_| CodecError::NotUtf8)
    }

    /// Reads text into an owned string.
    pub fn string(&mut self) -> Result<String, CodecError> {
        self.str().map(str::to_owned)
    }

    /// Reads a list, each item by `each`.
    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let len = self.u32()?;
        // No reservation by the announced length: a lie must not cost memory.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// Reads an optional value.
    pub fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.bool()? {
            each(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// True when nothing is left to read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
