//! The messages of containerd's APIs, written by hand from their field numbers; there is no protoc in the build.
//!
//! A field that is not here is skipped when it is read, as proto3 demands. One file for each API.

pub(crate) mod bootstrap;
pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod task;
pub(crate) mod ttrpc;

use std::time::{Duration, SystemTime};

use prost::Message;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Any {
    /// A message with its full name. containerd registers its types without a prefix.
    pub(crate) fn new(type_url: &str, message: &impl Message) -> Self {
        Self { type_url: type_url.to_owned(), value: message.encode_to_vec() }
    }

    /// The name without `type.googleapis.com/` or another prefix of its kind.
    pub(crate) fn name(&self) -> &str {
        self.type_url.strip_prefix("type.googleapis.com/").unwrap_or(&self.type_url)
    }
}

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl Timestamp {
    /// The time of day.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos().cast_signed() }
    }
}
