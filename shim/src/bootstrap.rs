//! What `start` is told on its standard input and what it answers: the dialects of containerd's versions.
//!
//! ```text
//!             standard input                           answer
//! to 2.2      nothing, or an Any with the options      unix:///run/containerd/s/...
//!             with ORLOP_SHIM_VERSION=3 (from 2.0 on)  {"version":3,"address":...,"protocol":"ttrpc"}
//! from 2.3    BootstrapParams                          BootstrapResult
//! ```
//!
//! Nothing but the input tells which one it is. An Any can be read as BootstrapParams too, with its type as the id; so
//! the id and the namespace are compared with those of the command line. The plain address is understood by every version
//! up to 2.2, while the JSON that some of them also take is an error to the older ones.

use prost::Message;

use crate::args::Args;
use crate::proto::Any;
use crate::proto::bootstrap::{BootstrapParams, BootstrapResult};

/// The environment variable that asks for version 3 of the protocol, of which containerd 2.0 and later can be told.
///
/// With it a pod's further containers are created without another execution of this program. It is not the default: behind a
/// shim of version 3 that was killed containerd does not clean up.
const VERSION: &str = "ORLOP_SHIM_VERSION";

/// The versions of the protocol between containerd and a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Each container has its own `start` and `delete`.
    Two = 2,
    /// Those of a pod's first container serve all.
    Three = 3,
}

impl Version {
    /// The one that the environment asks for.
    pub(crate) fn asked() -> Self {
        if std::env::var_os(VERSION).is_some_and(|value| value == "3") { Self::Three } else { Self::Two }
    }
}

/// The longest input that is read, in bytes.
pub(crate) const LONGEST: u64 = 10 << 20;

/// Who runs `start`, and what he says.
#[derive(Debug, PartialEq)]
pub(crate) enum Caller {
    /// containerd up to 2.2, with the options if there are any.
    Plain(Option<Any>),
    /// containerd from 2.3 on.
    Bootstrap(Box<BootstrapParams>),
}

impl Caller {
    /// Tells the dialects apart.
    pub(crate) fn read(input: &[u8], args: &Args) -> Self {
        if let Ok(params) = BootstrapParams::decode(input)
            && !params.instance_id.is_empty()
            && params.instance_id == args.id
            && params.namespace == args.namespace
        {
            return Self::Bootstrap(Box::new(params));
        }
        Self::Plain(Any::decode(input).ok().filter(|any| !any.type_url.is_empty()))
    }

    /// The options of the runtime, from whichever place.
    pub(crate) fn options(&self) -> Option<&Any> {
        match self {
            Self::Plain(options) => options.as_ref(),
            Self::Bootstrap(params) => {
                let values = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
                values.into_iter().find(|any| any.name().ends_with(".Options"))
            }
        }
    }

    /// The directory of sockets, where the caller names one.
    pub(crate) fn socket_dir(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) if !params.socket_dir.is_empty() => Some(&params.socket_dir),
            _ => None,
        }
    }

    /// The address of containerd's ttrpc socket, where the caller names it.
    pub(crate) fn ttrpc_address(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) if !params.containerd_ttrpc_address.is_empty() => {
                Some(&params.containerd_ttrpc_address)
            }
            _ => None,
        }
    }

    /// What `start` prints.
    pub(crate) fn answer(&self, address: &str, version: Version) -> Vec<u8> {
        let (number, protocol) = (version as i32, "ttrpc".to_owned());
        match (self, version) {
            (Self::Plain(_), Version::Two) => address.as_bytes().to_vec(),
            (Self::Plain(_), Version::Three) => {
                serde_json::json!({"version": number, "address": address, "protocol": protocol})
                    .to_string()
                    .into_bytes()
            }
            (Self::Bootstrap(_), _) => {
                BootstrapResult { version: number, address: address.to_owned(), protocol }.encode_to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bootstrap::Extension;
    use crate::proto::options::RuncOptions;

    fn args() -> Args {
        Args { id: "c1".into(), namespace: "ns".into(), ..Args::default() }
    }

    #[test]
    fn the_dialects_are_told_apart() {
        let options = Any::new(
            "containerd.runc.v1.Options",
            &RuncOptions { root: "/r".into(), ..RuncOptions::default() },
        );
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "ns".into(),
            containerd_ttrpc_address: "/t".into(),
            extensions: vec![Extension { value: Some(options.clone()) }],
            ..BootstrapParams::default()
        };
        let table = [
            (Vec::new(), Caller::Plain(None)),
            (options.encode_to_vec(), Caller::Plain(Some(options.clone()))),
            (params.encode_to_vec(), Caller::Bootstrap(Box::new(params.clone()))),
            (b"\xff\xff".to_vec(), Caller::Plain(None)),
        ];
        for (input, expected) in table {
            assert_eq!(Caller::read(&input, &args()), expected);
        }
        let other = BootstrapParams { namespace: "other".into(), ..params.clone() };
        assert!(matches!(Caller::read(&other.encode_to_vec(), &args()), Caller::Plain(_)));
        assert_eq!(Caller::Bootstrap(Box::new(params)).options(), Some(&options));
    }

    #[test]
    fn each_dialect_has_its_answer() {
        let plain = |version| Caller::Plain(None).answer("unix:///s", version);
        assert_eq!(plain(Version::Two), b"unix:///s");
        let text = String::from_utf8(plain(Version::Three)).unwrap();
        assert_eq!(text, r#"{"address":"unix:///s","protocol":"ttrpc","version":3}"#);
        let bootstrap = |version| Caller::Bootstrap(Box::default()).answer("unix:///s", version);
        assert_eq!(bootstrap(Version::Two), b"\x08\x02\x12\x09unix:///s\x1a\x05ttrpc");
        assert_eq!(bootstrap(Version::Three), b"\x08\x03\x12\x09unix:///s\x1a\x05ttrpc");
    }
}
