//! The messages of CRIU's RPC, as bytes: protobuf written and read by hand.
//!
//! Nothing here knows what a checkpoint is; [`super::swrk`] carries the messages. A request has about forty fields of
//! four kinds and a response a dozen, so a protobuf library would weigh more than this. Start at [`Message`] to write,
//! at [`Response::parse`] to read. The field numbers are those of
//! <https://github.com/checkpoint-restore/criu/blob/v4.1/images/rpc.proto>.

/// What is asked (`criu_req_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Save a process tree.
    Dump = 1,
    /// Make a process tree from images.
    Restore = 2,
    /// Save memory alone.
    PreDump = 4,
    /// The answer to a notification.
    Notify = 6,
    /// What CRIU and the kernel can do together.
    FeatureCheck = 9,
    /// CRIU's version.
    Version = 10,
}

/// Field numbers of `criu_opts`.
#[expect(missing_docs, reason = "the names are those of the message")]
pub mod opts {
    pub const IMAGES_DIR_FD: u32 = 1;
    pub const PID: u32 = 2;
    pub const LEAVE_RUNNING: u32 = 3;
    pub const EXT_UNIX_SK: u32 = 4;
    pub const TCP_ESTABLISHED: u32 = 5;
    pub const EVASIVE_DEVICES: u32 = 6;
    pub const SHELL_JOB: u32 = 7;
    pub const FILE_LOCKS: u32 = 8;
    pub const LOG_LEVEL: u32 = 9;
    pub const LOG_FILE: u32 = 10;
    pub const PAGE_SERVER: u32 = 11;
    pub const NOTIFY_SCRIPTS: u32 = 12;
    pub const ROOT: u32 = 13;
    pub const PARENT_IMG: u32 = 14;
    pub const TRACK_MEM: u32 = 15;
    pub const AUTO_DEDUP: u32 = 16;
    pub const WORK_DIR_FD: u32 = 17;
    pub const LINK_REMAP: u32 = 18;
    pub const MANAGE_CGROUPS: u32 = 24;
    pub const CG_ROOT: u32 = 25;
    pub const RST_SIBLING: u32 = 26;
    pub const INHERIT_FD: u32 = 27;
    pub const MANAGE_CGROUPS_MODE: u32 = 34;
    pub const EXTERNAL: u32 = 37;
    pub const EMPTY_NS: u32 = 38;
    pub const JOIN_NS: u32 = 39;
    pub const CGROUP_DUMP_CONTROLLER: u32 = 43;
    pub const FREEZE_CGROUP: u32 = 44;
    pub const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub const LAZY_PAGES: u32 = 48;
    pub const ORPHAN_PTS_MASTER: u32 = 50;
    pub const CONFIG_FILE: u32 = 51;
    pub const TCP_CLOSE: u32 = 52;
    pub const LSM_PROFILE: u32 = 53;
    pub const LSM_MOUNT_CONTEXT: u32 = 63;
    pub const NETWORK_LOCK: u32 = 64;
}

/// A message that is being written: its fields one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// A request of one kind (`criu_req`).
    pub fn request(kind: Request) -> Self {
        let mut message = Self::default();
        message.number(1, kind as u64);
        message
    }

    /// The options of a request.
    #[must_use]
    pub fn with_options(mut self, options: &Self) -> Self {
        self.message(2, options);
        self
    }

    /// The answer of whoever was notified: go on, or do not.
    #[must_use]
    pub fn with_notify_success(mut self) -> Self {
        self.flag(3, true);
        self
    }

    /// CRIU waits for a further request after this one.
    #[must_use]
    pub fn with_keep_open(mut self) -> Self {
        self.flag(4, true);
        self
    }

    /// The features that are asked for (`criu_features`).
    #[must_use]
    pub fn with_features(mut self, features: Features) -> Self {
        let mut asked = Self::default();
        asked.flag(1, features.mem_track);
        asked.flag(2, features.lazy_pages);
        self.message(5, &asked);
        self
    }

    /// A number, not negative.
    pub fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    /// A switch; one that is off is left out.
    pub fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    /// A string.
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A message within this one.
    pub fn message(&mut self, field: u32, value: &Self) {
        self.bytes(field, &value.0);
    }

    /// A message of two fields, of which the first is a string.
    pub fn pair(&mut self, field: u32, first: &str, second: Second<'_>) {
        let mut pair = Self::default();
        pair.text(1, first);
        match second {
            Second::Text(text) => pair.text(2, text),
            Second::Number(number) => pair.number(2, number),
        }
        self.message(field, &pair);
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// The message as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The second field of a pair.
#[derive(Clone, Copy, Debug)]
pub enum Second<'a> {
    /// A string.
    Text(&'a str),
    /// A number.
    Number(u64),
}

/// What CRIU and the kernel can do together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Tell which pages were written since the last dump.
    pub mem_track: bool,
    /// Fetch pages on first use.
    pub lazy_pages: bool,
}

/// What CRIU says (`criu_resp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The number of the request that it answers; that of [`Request::Notify`] for a notification.
    pub kind: u64,
    /// Whether the request was granted.
    pub success: bool,
    /// The name of the point that was reached.
    pub script: String,
    /// The process that a notification is about.
    pub pid: i32,
    /// The first process of a tree that was restored.
    pub restored: i32,
    /// The errno of a failure.
    pub errno: i32,
    /// A failure in words.
    pub message: String,
    /// What is supported.
    pub features: Features,
    /// major * 10000 + minor * 100 + sublevel.
    pub version: u32,
}

impl Response {
    /// Reads a message; fields that are not known are skipped. `None` for what is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for field in Fields::read(bytes)? {
            match field {
                (1, Value::Number(number)) => response.kind = number,
                (2, Value::Number(number)) => response.success = number != 0,
                (4, Value::Bytes(bytes)) => response.restored = Fields::read(bytes)?.number(1),
                (5, Value::Bytes(bytes)) => {
                    let notify = Fields::read(bytes)?;
                    (response.script, response.pid) = (notify.text(1), notify.number(2));
                }
                (7, Value::Number(number)) => response.errno = int32(number),
                (8, Value::Bytes(bytes)) => {
                    let features = Fields::read(bytes)?;
                    response.features =
                        Features { mem_track: features.number(1) != 0, lazy_pages: features.number(2) != 0 };
                }
                (9, Value::Bytes(bytes)) => response.message = String::from_utf8_lossy(bytes).into_owned(),
                (10, Value::Bytes(bytes)) => {
                    let found = Fields::read(bytes)?;
                    let [major, minor, sublevel] =
                        [1, 2, 4].map(|field| u32::try_from(found.number(field)).unwrap_or(0).min(99));
                    response.version = version(major, minor, sublevel);
                }
                _ => {}
            }
        }
        Some(response)
    }
}

/// A version as one number: 3.17.1 is 31701.
pub const fn version(major: u32, minor: u32, sublevel: u32) -> u32 {
    major * 10_000 + minor * 100 + sublevel
}

/// The fields of a message in their order.
struct Fields<'a>(Vec<(u64, Value<'a>)>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)?),
                1 => Value::Bytes(take(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    Value::Bytes(take(&mut bytes, length)?)
                }
                5 => Value::Bytes(take(&mut bytes, 4)?),
                _ => return None,
            };
            fields.push((tag >> 3, value));
        }
        Some(Self(fields))
    }

    fn number(&self, field: u64) -> i32 {
        self.0
            .iter()
            .find_map(|(number, value)| match value {
                Value::Number(value) if *number == field => Some(int32(*value)),
                _ => None,
            })
            .unwrap_or(0)
    }

    fn text(&self, field: u64) -> String {
        let found = self.0.iter().find_map(|(number, value)| match value {
            Value::Bytes(bytes) if *number == field => Some(*bytes),
            _ => None,
        });
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (u64, Value<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// An int32 is written with the sign in all 64 bits; the low 32 hold it whole.
fn int32(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_protobuf_demands() {
        let mut options = Message::default();
        options.number(opts::IMAGES_DIR_FD, 300);
        options.flag(opts::LEAVE_RUNNING, true);
        options.flag(opts::EXT_UNIX_SK, false);
        options.text(opts::EXTERNAL, "a");
        options.pair(opts::INHERIT_FD, "k", Second::Number(4));
        options.pair(opts::CG_ROOT, "c", Second::Text("/p"));
        let message = Message::request(Request::Dump).with_options(&options);
        let expected: [&[u8]; 7] = [
            &[0x08, 1, 0x12, 27],
            &[0x08, 0xac, 0x02],
            &[0x18, 1],
            &[0xaa, 0x02, 1, b'a'],
            &[0xda, 0x01, 5, 0x0a, 1, b'k', 0x10, 4],
            &[0xca, 0x01, 7, 0x0a, 1, b'c', 0x12, 2, b'/', b'p'],
            &[],
        ];
        let expected = expected.concat();
        assert_eq!(message.as_bytes(), expected);
        assert_eq!(usize::from(expected[3]), expected.len() - 4);
    }

    #[test]
    fn a_response_is_read_whatever_else_it_holds() {
        let notify = [0x08, 6, 0x10, 1, 0x2a, 7, 0x0a, 3, b'p', b'-', b'r', 0x10, 9];
        let response = Response::parse(&notify).unwrap();
        assert_eq!(
            (response.kind, response.success, response.script.as_str(), response.pid),
            (6, true, "p-r", 9)
        );
        let unknown = [0x08, 1, 0x10, 0, 0x38, 22, 0x4a, 2, b'n', b'o', 0xa1, 6, 1, 2, 3, 4, 5, 6, 7, 8];
        let response = Response::parse(&unknown).unwrap();
        assert_eq!((response.success, response.errno, response.message.as_str()), (false, 22, "no"));
        let negative = [0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Response::parse(&negative).unwrap().errno, -1);
        let version = [0x52, 6, 0x08, 3, 0x10, 17, 0x20, 1];
        assert_eq!(Response::parse(&version).unwrap().version, 31701);
        let features = [0x42, 4, 0x08, 1, 0x10, 0];
        assert_eq!(
            Response::parse(&features).unwrap().features,
            Features { mem_track: true, lazy_pages: false }
        );
    }

    #[test]
    fn what_is_cut_off_or_no_protobuf_is_no_response() {
        for bytes in [&[0x08][..], &[0x2a, 9, 1], &[0x0b], &[0xff; 11], &[0x2a, 2, 0x0a, 9]] {
            assert_eq!(Response::parse(bytes), None, "{bytes:?}");
        }
        assert_eq!(Response::parse(&[]), Some(Response::default()));
    }
}
