//! D-Bus messages: how calls are written and answers read.
//!
//! Everything is aligned to its size from the start of the message, and little endian is chosen by its first byte.

/// Values that calls carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Pids(Vec<u32>),
    /// `a(sv)`
    Properties(Vec<(String, Value)>),
    /// `a(sa(sv))`, which is always empty here
    NoUnits,
}

impl Value {
    /// The value's type in the notation of D-Bus.
    pub(super) fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Int32(_) => "i",
            Self::Uint32(_) => "u",
            Self::Int64(_) => "x",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Pids(_) => "au",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Bool(value) => out.u32(u32::from(*value)),
            Self::Int32(value) => out.u32(value.cast_unsigned()),
            Self::Uint32(value) => out.u32(*value),
            Self::Int64(value) => out.u64(value.cast_unsigned()),
            Self::Number(value) => out.u64(*value),
            Self::Text(text) => out.text(text),
            Self::Texts(texts) => out.array(4, |out| texts.iter().for_each(|text| out.text(text))),
            Self::Bytes(bytes) => out.array(1, |out| out.bytes.extend_from_slice(bytes)),
            Self::Pids(pids) => out.array(4, |out| pids.iter().for_each(|pid| out.u32(*pid))),
            Self::Properties(properties) => out.array(8, |out| {
                for (name, value) in properties {
                    out.align(8);
                    out.text(name);
                    out.variant(value);
                }
            }),
            Self::NoUnits => out.array(8, |_| ()),
        }
    }
}

/// Bytes with alignment counted from the start of the message.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        value.write(self);
    }

    /// The length counts from the first element, behind the padding that leads to it.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.bytes.push(code);
        self.signature(signature);
        if signature == "g" { self.signature(text) } else { self.text(text) }
    }
}

/// A method call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    method: &'a str,
    arguments: &'a [Value],
}

const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_METHOD: u8 = 3;
const FIELD_ERROR: u8 = 4;
const FIELD_REPLY_TO: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

const CALL: u8 = 1;
const ERROR: u8 = 3;

impl<'a> Call<'a> {
    /// A call of systemd's manager.
    pub(super) fn to_manager(method: &'a str, arguments: &'a [Value]) -> Self {
        Self {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            method,
            arguments,
        }
    }

    /// A question for a property of systemd's manager.
    pub(super) fn for_property(arguments: &'a [Value]) -> Self {
        Self { interface: "org.freedesktop.DBus.Properties", ..Self::to_manager("Get", arguments) }
    }

    /// A call of the bus itself.
    pub(super) fn to_bus(method: &'a str, arguments: &'a [Value]) -> Self {
        let (destination, interface) = ("org.freedesktop.DBus", "org.freedesktop.DBus");
        Self { destination, path: "/org/freedesktop/DBus", interface, method, arguments }
    }

    /// Appends the message to `out`; a bus needs to know for whom it is.
    pub(super) fn write(&self, serial: u32, on_bus: bool, out: &mut Vec<u8>) {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|argument| argument.write(&mut body));
        let mut header = Writer { bytes: vec![b'l', CALL, 0, 1] };
        header.u32(body.bytes.len() as u32);
        header.u32(serial);
        header.array(8, |out| {
            out.field(FIELD_PATH, "o", self.path);
            out.field(FIELD_INTERFACE, "s", self.interface);
            out.field(FIELD_METHOD, "s", self.method);
            if on_bus {
                out.field(FIELD_DESTINATION, "s", self.destination);
            }
            let signature: String = self.arguments.iter().map(Value::signature).collect();
            if !signature.is_empty() {
                out.field(FIELD_SIGNATURE, "g", &signature);
            }
        });
        header.align(8);
        out.extend_from_slice(&header.bytes);
        out.extend_from_slice(&body.bytes);
    }
}

/// A message that came in, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    /// The serial of the call that this answers.
    pub(super) reply_to: Option<u32>,
    /// The name of the error, if it is one.
    pub(super) error: Option<String>,
    /// The name of a signal.
    pub(super) member: String,
    /// The strings and paths of the body in order; numbers are skipped.
    pub(super) texts: Vec<String>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()?;
        self.text_of(length as usize)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.u8()?;
        self.text_of(length.into())
    }

    fn text_of(&mut self, length: usize) -> Option<String> {
        let bytes = self.take(length.checked_add(1)?)?;
        Some(String::from_utf8_lossy(bytes.split_last()?.1).into_owned())
    }
}

impl Incoming {
    /// The length of the message that `bytes` begin with, `None` if too little of it is there.
    pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let mut reader = Reader { bytes, at: 4 };
        let (Some(body), Some(_serial), Some(fields)) = (reader.u32(), reader.u32(), reader.u32()) else {
            return Ok(None);
        };
        if bytes.first() != Some(&b'l') {
            return Err("sent a message that is not little endian");
        }
        let header = (fields as usize).saturating_add(16).checked_next_multiple_of(8);
        Ok(Some(header.unwrap_or(usize::MAX).saturating_add(body as usize)))
    }

    /// Reads one whole message.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 12 };
        let end = (reader.u32()? as usize).checked_add(16)?;
        let (mut message, mut signature, mut error) = (Self::default(), String::new(), None);
        while reader.at < end {
            reader.align(8);
            let (code, kind) = (reader.u8()?, reader.signature()?);
            match (code, kind.as_str()) {
                (FIELD_REPLY_TO, "u") => message.reply_to = Some(reader.u32()?),
                (FIELD_METHOD, "s") => message.member = reader.text()?,
                (FIELD_ERROR, "s") => error = Some(reader.text()?),
                (FIELD_SIGNATURE, "g") => signature = reader.signature()?,
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                (_, "s" | "o") => drop(reader.text()?),
                _ => return None,
            }
        }
        reader.align(8);
        if bytes.get(1) == Some(&ERROR) {
            message.error = Some(error.unwrap_or_default());
        }
        message.read_body(&mut reader, &signature)?;
        Some(message)
    }

    /// Stops at the first type that is none of strings, paths, numbers and variants of them.
    fn read_body(&mut self, reader: &mut Reader<'_>, signature: &str) -> Option<()> {
        for kind in signature.chars() {
            let inner = if kind == 'v' { reader.signature()? } else { kind.to_string() };
            match inner.as_str() {
                "s" | "o" => self.texts.push(reader.text()?),
                "u" => drop(reader.u32()?),
                _ => break,
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_with_its_padding() {
        let arguments = [
            Value::Text("a.scope".to_owned()),
            Value::Properties(vec![("Delegate".to_owned(), Value::Bool(true))]),
        ];
        let mut bytes = Vec::new();
        Call::to_manager("X", &arguments).write(7, true, &mut bytes);
        assert_eq!(Incoming::length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(Incoming::length(&bytes[..15]), Ok(None));
        let body = &bytes[bytes.len() - u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize..];
        let expected = b"\x07\0\0\0a.scope\0\x14\0\0\0\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0";
        assert_eq!(body, expected);
        assert_eq!((bytes[0], bytes[1], bytes[3], bytes[8]), (b'l', CALL, 1, 7));
        let parsed = Incoming::parse(&bytes).unwrap();
        assert_eq!((parsed.member.as_str(), parsed.texts.as_slice()), ("X", &["a.scope".to_owned()][..]));
    }

    #[test]
    fn an_answer_from_a_liar_is_refused_and_never_panics() {
        let arguments = [Value::Text("text".to_owned()), Value::Pids(vec![1, 2])];
        let mut bytes = Vec::new();
        Call::to_manager("Method", &arguments).write(1, true, &mut bytes);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = Incoming::length(&broken);
                let _ = Incoming::parse(&broken);
                let _ = Incoming::parse(&broken[..at]);
            }
        }
        assert_eq!(Incoming::parse(&bytes[..20]), None);
        assert!(Incoming::length(b"B\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
    }
}
