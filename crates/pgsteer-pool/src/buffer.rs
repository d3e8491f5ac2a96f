//! Byte buffers that are lent for as long as bytes are in flight.
//!
//! An idle connection holds none: buffers live in a free list of their thread.

use std::cell::RefCell;

use bytes::BytesMut;

/// Size of a lent buffer in bytes; large enough that a response of some hundred rows needs one
/// read, and for the largest record of TLS (16 KiB and what encryption adds), small enough that ten
/// thousand of them would fit in memory.
pub const BUFFER_LEN: usize = 17 * 1024;

/// Buffers kept per thread; beyond that they are freed.
const SPARE_MAX: usize = 64;

/// Size of the memory that is lent to what is to be written, in bytes: a request and its
/// preparation.
const OUTPUT_LEN: usize = 4 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SPARE_OUTPUTS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Memory for something that is to be written.
pub(crate) fn lend_output() -> BytesMut {
    let spare = SPARE_OUTPUTS.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| BytesMut::with_capacity(OUTPUT_LEN))
}

/// All of it was written. What has grown, or was cut at its front, is freed.
pub(crate) fn give_back_output(output: BytesMut) {
    if output.capacity() == OUTPUT_LEN {
        SPARE_OUTPUTS.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(output);
            }
        });
    }
}

/// Bytes between a reader and a writer: `start <= end <= data.len()`.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes not consumed yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    /// Number of bytes not consumed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether everything was consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks bytes at the front as consumed; the last byte gives the memory back.
    pub fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
        if self.start == self.end {
            self.give_back();
        }
    }

    /// Room to read into, of at least one byte.
    pub fn space(&mut self) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = SPARE
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; BUFFER_LEN]);
        }
        if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.data.resize(self.data.len() * 2, 0);
            }
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// The bytes not consumed yet, for decryption where they are.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Room to read into, of at least so many bytes.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.space();
        if self.data.len() - self.end < len {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let needed = self.end + len;
            if self.data.len() < needed {
                self.data.resize(needed, 0);
            }
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// Whether reading more would need more memory than one lent buffer.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= BUFFER_LEN
    }

    /// Marks bytes of [`Buffer::space`] as filled.
    pub fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.data.len());
    }

    /// Appends bytes.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let len = space.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            space
                .get_mut(..len)
                .unwrap_or_default()
                .copy_from_slice(now);
            self.filled(len);
            bytes = later;
        }
    }

    /// Puts other bytes in the place of those at the front.
    pub fn replace(&mut self, len: usize, bytes: &[u8]) {
        let rest = self.bytes().get(len..).unwrap_or_default().to_vec();
        self.consume(usize::MAX / 2);
        self.extend(bytes);
        self.extend(&rest);
    }

    fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        let data = std::mem::take(&mut self.data);
        if data.len() == BUFFER_LEN {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(data);
                }
            });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            self.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_growth_and_gives_memory_back() {
        let mut buffer = Buffer::default();
        let bytes: Vec<u8> = (0..u8::MAX).cycle().take(3 * BUFFER_LEN).collect();
        buffer.extend(&bytes[..100]);
        buffer.consume(60);
        buffer.extend(&bytes[100..]);
        assert_eq!(buffer.bytes(), &bytes[60..]);
        buffer.consume(usize::MAX / 2);
        assert!(buffer.is_empty() && buffer.data.is_empty());
    }

    #[test]
    fn bytes_at_the_front_are_replaced() {
        let mut buffer = Buffer::default();
        buffer.extend(b"xxabcrest");
        buffer.consume(2);
        buffer.replace(3, b"a longer text, ");
        assert_eq!(buffer.bytes(), b"a longer text, rest");
        buffer.replace(19, b"");
        assert!(buffer.is_empty());
    }
}
