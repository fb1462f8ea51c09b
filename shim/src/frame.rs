//! The frames of ttrpc: a header of ten bytes and a body.
//!
//! ```text
//! 0        4          8      9       10
//! | length | stream   | type | flags | body
//! ```
//!
//! Numbers are big-endian. Streams are the calls of a connection; a client counts 1, 3, 5 and so on. Only calls with one
//! request and one response are spoken here.
//!
//! <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>

use prost::Message;

use crate::failure::Failure;
use crate::proto::ttrpc::{Request, Response, Status};

/// The largest body.
pub(crate) const LARGEST: usize = 4 << 20;

const HEADER: usize = 10;
/// The type of a request.
pub(crate) const REQUEST: u8 = 1;
/// The type of a response.
pub(crate) const RESPONSE: u8 = 2;

/// One frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The call.
    pub(crate) stream: u32,
    /// [`REQUEST`], [`RESPONSE`] or a type that is not spoken here.
    pub(crate) kind: u8,
    /// The body; `None` where it was too large and is skipped.
    pub(crate) body: Option<Vec<u8>>,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Bytes of a body that is skipped.
    skip: usize,
}

impl Reader {
    /// Takes what was read from a connection.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// The next whole frame.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let (header, rest) = self.buffer.split_first_chunk::<HEADER>()?;
        let [a, b, c, d, e, f, g, h, kind, _] = *header;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let stream = u32::from_be_bytes([e, f, g, h]);
        if length > LARGEST {
            let here = rest.len().min(length);
            self.skip = length - here;
            self.buffer.drain(..HEADER + here);
            return Some(Frame { stream, kind, body: None });
        }
        let body = Some(rest.get(..length)?.to_vec());
        self.buffer.drain(..HEADER + length);
        if self.buffer.is_empty() {
            // A shim lives long with many idle connections: none of them keeps the memory of its largest message.
            self.buffer = Vec::new();
        }
        Some(Frame { stream, kind, body })
    }
}

/// The bytes of a frame.
pub(crate) fn encode(stream: u32, kind: u8, message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    // The only error is a buffer without room, and a Vec grows.
    let _ = message.encode(&mut bytes);
    bytes
}

/// The frame that answers the call `stream`.
pub(crate) fn response(stream: u32, answer: Result<Vec<u8>, Failure>) -> Vec<u8> {
    let response = match answer {
        Ok(payload) => Response { status: Some(Status::default()), payload },
        Err(Failure { code, text }) => Response {
            status: Some(Status { code: code as i32, message: text, details: Vec::new() }),
            payload: Vec::new(),
        },
    };
    encode(stream, RESPONSE, &response)
}

/// The frame of a call.
pub(crate) fn request(stream: u32, request: &Request) -> Vec<u8> {
    encode(stream, REQUEST, request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    #[test]
    fn frames_are_cut_wherever_the_reads_end() {
        let call =
            Request { service: "s".into(), method: "m".into(), payload: vec![1, 2], ..Request::default() };
        let bytes = [request(1, &call), request(3, &call)].concat();
        for size in 1..bytes.len() {
            let mut reader = Reader::default();
            let mut frames = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.feed(chunk);
                frames.extend(std::iter::from_fn(|| reader.frame()));
            }
            assert_eq!(frames.iter().map(|frame| frame.stream).collect::<Vec<_>>(), [1, 3], "{size}");
            for frame in frames {
                assert_eq!(Request::decode(frame.body.unwrap().as_slice()), Ok(call.clone()));
            }
            assert_eq!(reader.buffer.capacity(), 0);
        }
    }

    #[test]
    fn a_request_has_the_bytes_of_the_protocol() {
        let call = Request { service: "s".into(), method: "m".into(), ..Request::default() };
        assert_eq!(request(1, &call), b"\0\0\0\x06\0\0\0\x01\x01\0\x0a\x01s\x12\x01m");
        let answer = response(1, Err(Failure::new(Code::NotFound, "x")));
        assert_eq!(answer, b"\0\0\0\x07\0\0\0\x01\x02\0\x0a\x05\x08\x05\x12\x01x");
        assert_eq!(response(5, Ok(vec![9])), b"\0\0\0\x05\0\0\0\x05\x02\0\x0a\x00\x12\x01\x09");
    }

    #[test]
    fn a_body_that_is_too_large_is_skipped_and_the_next_frame_is_read() {
        let mut reader = Reader::default();
        let length = LARGEST + 1;
        reader.feed(&u32::try_from(length).unwrap().to_be_bytes());
        reader.feed(&[0, 0, 0, 7, 1, 0]);
        assert_eq!(reader.frame(), Some(Frame { stream: 7, kind: REQUEST, body: None }));
        (0..length / 4096).for_each(|_| reader.feed(&[0; 4096]));
        reader.feed(&[0; 1]);
        reader.feed(&request(9, &Request::default()));
        assert_eq!(reader.frame(), Some(Frame { stream: 9, kind: REQUEST, body: Some(Vec::new()) }));
    }
}
