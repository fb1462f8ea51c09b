//! Bytes on their way from one descriptor to another: read as a whole, written in parts, read again when all are gone.

use rustix::io::Errno;

/// A block of bytes of which a part is still to be written.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The first byte that is not written yet.
    start: usize,
    /// The first byte that is not read yet.
    end: usize,
}

impl Buffer {
    /// An empty one that takes `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], start: 0, end: 0 }
    }

    /// Whether nothing is left to write.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes are left to write.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The last byte of what was read.
    pub fn last(&self) -> Option<u8> {
        self.bytes.get(..self.end)?.last().copied()
    }

    /// Reads into an empty buffer; 0 is the end of the file.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
        let count = read(&mut self.bytes)?.min(self.bytes.len());
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Writes what is left, or a part of it.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn drain(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
        let count = write(self.bytes.get(self.start..self.end).unwrap_or_default())?;
        self.start = self.end.min(self.start + count);
        Ok(count)
    }

    /// Forgets what is left.
    pub fn clear(&mut self) {
        self.start = self.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_once_in_any_number_of_parts() {
        let mut buffer = Buffer::new(4);
        assert_eq!(
            buffer.fill(|space| {
                space.copy_from_slice(b"abcd");
                Ok(4)
            }),
            Ok(4)
        );
        let mut seen = Vec::new();
        while !buffer.is_empty() {
            let part = |bytes: &[u8]| {
                seen.extend_from_slice(&bytes[..bytes.len().min(3)]);
                Ok(bytes.len().min(3))
            };
            buffer.drain(part).unwrap();
        }
        assert_eq!(seen, b"abcd");
        assert_eq!(buffer.drain(|_| Err(Errno::AGAIN)), Err(Errno::AGAIN));
    }
}
