//! One gRPC call over a unix socket: enough of HTTP/2 for requests and answers that fit into its first window.
//!
//! Each call has a connection of its own, with stream 1 on it:
//!
//! ```text
//! client                                   server
//!   preface, SETTINGS, HEADERS, DATA+END --->
//!                                        <--- SETTINGS, HEADERS, DATA, HEADERS+END (the trailers)
//! ```
//!
//! Headers are sent as literals and not read: an answer without DATA is a failure, whose reason the server's log has.
//! Sources: RFC 9113, RFC 7541 section 6.2.2, the gRPC protocol over HTTP/2.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Calls `method` (`/package.Service/Method`) with a message as it is encoded; `None` where the server refuses it.
pub fn call(socket: &str, method: &str, message: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(crate::world::LIMIT))?;
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("a small message").to_be_bytes());
    body.extend(message);
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    sent.extend(frame(HEADERS, END_HEADERS, 1, &headers(method)));
    sent.extend(frame(DATA, END_STREAM, 1, &body));
    stream.write_all(&sent)?;
    let answer = answer(&mut stream)?;
    Ok(answer.get(5..).map(<[u8]>::to_vec))
}

fn headers(method: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let literal = |text: &str| {
        let length = u8::try_from(text.len()).expect("a short header");
        assert!(length < 127, "a length of one byte");
        [&[length], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat()).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The data of stream 1, to its end.
fn answer(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let [a, b, c, kind, flags, number @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            DATA => data.extend(payload),
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
            RST_STREAM | GOAWAY => return Err(std::io::Error::other("the server ends the stream")),
            _ => {}
        }
        let own = matches!(kind, DATA | HEADERS) && u32::from_be_bytes(number) == 1;
        if own && flags & END_STREAM != 0 {
            return Ok(data);
        }
    }
}
