//! `linux.intelRdt`: the resctrl group of the container.
//!
//! The parent makes the group, writes the lines and moves the child into it before the program runs; nothing here is a
//! step of the child, which may have no right to resctrl. The rules about directories that exist already are pure
//! functions here: [`IntelRdt::needs_existing`], [`IntelRdt::differs`].
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#intelrdt>

use serde::Deserialize;

use super::{Problems, Spec};
use crate::Result;
use crate::facts::Facts;
use crate::json::or_default;

// ── Shape ──

/// `linux.intelRdt` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The class of service; absent or empty is a class of the container's own.
    #[serde(rename = "closID", deserialize_with = "or_default")]
    pub clos_id: String,
    /// Lines of the file `schemata`.
    #[serde(deserialize_with = "or_default")]
    pub schemata: Vec<String>,
    /// The line of the L3 cache.
    #[serde(rename = "l3CacheSchema", deserialize_with = "or_default")]
    pub l3_cache_schema: String,
    /// The line of the memory bandwidth.
    #[serde(rename = "memBwSchema", deserialize_with = "or_default")]
    pub mem_bw_schema: String,
    /// Whether the container gets a monitoring group of its own.
    #[serde(rename = "enableMonitoring", deserialize_with = "or_default")]
    pub enable_monitoring: bool,
}

// ── Rules ──

/// The class of service of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clos {
    /// A directory named after the container, made by create and removed by delete.
    Own,
    /// The root of resctrl, which always exists.
    Default,
    /// A directory below the root that outlives the container.
    Named(String),
}

/// Whether a monitoring group named after the container is made and removed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitoring {
    /// Yes, in the `mon_groups` of its class.
    Own,
    /// No.
    None,
}

/// The resctrl group of a container, valid.
#[derive(Debug, PartialEq, Eq)]
pub struct IntelRdt {
    /// The class of service.
    pub clos: Clos,
    /// What to write to `schemata`, one write each, in this order; empty leaves the file alone.
    pub lines: Vec<String>,
    /// The monitoring group.
    pub monitoring: Monitoring,
}

/// Checks names and lines. Without resctrl it is an error, never skipped.
pub fn check(spec: &Spec, facts: &Facts, problems: &mut Problems) -> Option<IntelRdt> {
    let shape = spec.linux.as_ref()?.intel_rdt.as_ref()?;
    if facts.resctrl().is_none() {
        problems.unsupported("linux.intelRdt", "resctrl is not mounted on this host");
    }
    let clos = clos(&shape.clos_id, problems);
    check_mem_bw("linux.intelRdt.memBwSchema", &shape.mem_bw_schema, problems);
    for (index, line) in shape.schemata.iter().enumerate() {
        one_line(&format!("linux.intelRdt.schemata[{index}]"), line, problems);
    }
    let monitoring = if shape.enable_monitoring { Monitoring::Own } else { Monitoring::None };
    Some(IntelRdt { clos, lines: lines(shape), monitoring })
}

fn clos(id: &str, problems: &mut Problems) -> Clos {
    match id {
        "" => return Clos::Own,
        "/" => return Clos::Default,
        "." | ".." | "info" | "mon_groups" | "mon_data" => {
            problems.invalid("linux.intelRdt.closID", format!("{id:?} is no name of a class"));
        }
        _ if id.contains(['/', '\0', '\n']) => {
            problems.invalid("linux.intelRdt.closID", format!("{id:?} is no name of one directory"));
        }
        _ => {}
    }
    Clos::Named(id.to_owned())
}

fn one_line(key: &str, line: &str, problems: &mut Problems) {
    if line.contains('\n') {
        problems.invalid(key.to_owned(), "contains a newline");
    }
}

/// The lines that an update asks for.
///
/// # Errors
/// `InvalidConfig` for text that is no line of its resource.
pub fn update_lines(l3_cache_schema: &str, mem_bw_schema: &str) -> Result<Vec<String>> {
    let mut problems = Problems::default();
    check_mem_bw("--mem-bw-schema", mem_bw_schema, &mut problems);
    problems.finish()?;
    let (l3_cache_schema, mem_bw_schema) = (l3_cache_schema.to_owned(), mem_bw_schema.to_owned());
    Ok(lines(&Shape { l3_cache_schema, mem_bw_schema, ..Shape::default() }))
}

fn check_mem_bw(key: &'static str, line: &str, problems: &mut Problems) {
    if !line.is_empty() && !line.starts_with("MB:") {
        problems.invalid(key, "does not begin with \"MB:\"");
    }
    one_line(key, line, problems);
}

/// The L3 schema first, then the memory bandwidth, then `schemata`. The L3 schema may have several lines, as code and
/// data prioritisation needs two.
fn lines(shape: &Shape) -> Vec<String> {
    let given = shape.l3_cache_schema.lines().chain(shape.mem_bw_schema.lines());
    let given = given.chain(shape.schemata.iter().map(String::as_str));
    given.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

impl IntelRdt {
    /// Whether the class must have been set up by somebody else: it has a name, and nothing says what it is.
    pub fn needs_existing(&self) -> bool {
        matches!(self.clos, Clos::Named(_)) && self.lines.is_empty()
    }

    /// The first line that `schemata`, the file of a named class that exists already, does not agree with. A resource that
    /// a line does not mention may have any value.
    pub fn differs(&self, schemata: &str) -> Option<&str> {
        let agrees = |line: &&String| {
            let (resource, domains) = line.split_once(':').unwrap_or((line, ""));
            let present = schemata
                .lines()
                .filter_map(|present| present.split_once(':'))
                .find(|present| present.0.trim() == resource.trim());
            present.is_some_and(|present| contains_domains(present.1, domains))
        };
        self.lines.iter().find(|line| !agrees(line)).map(String::as_str)
    }
}

/// Whether every `id=value` of `asked` is in `present`. The kernel pads its values.
fn contains_domains(present: &str, asked: &str) -> bool {
    let domains = |text: &str| {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        parts.map(normal).collect::<Vec<_>>()
    };
    let present = domains(present);
    domains(asked).iter().all(|domain| present.contains(domain))
}

/// A domain without blanks and leading zeros: `0=00f` and `0 = f` are the same.
fn normal(domain: &str) -> (String, String) {
    let (id, value) = domain.split_once('=').unwrap_or((domain, ""));
    let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
    (id.trim().to_owned(), if value.is_empty() { "0".to_owned() } else { value })
}

// ── Steps ── none: the parent does it.

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rdt: &str, resctrl: Option<&str>) -> (Option<IntelRdt>, Vec<String>) {
        let spec = serde_json::from_str(&format!(r#"{{"linux": {{"intelRdt": {rdt}}}}}"#)).unwrap();
        let facts = Facts { resctrl: resctrl.map(Into::into).into(), ..Facts::default() };
        let mut problems = Problems::default();
        let rdt = check(&spec, &facts, &mut problems);
        let errors = problems.errors.iter().map(|error| error.to_string().replace("linux.intelRdt", ""));
        (rdt, errors.collect())
    }

    fn mounted(rdt: &str) -> (IntelRdt, Vec<String>) {
        let (rdt, errors) = checked(rdt, Some("/sys/fs/resctrl"));
        (rdt.unwrap(), errors)
    }

    #[test]
    fn without_resctrl_it_is_refused() {
        assert_eq!(checked("{}", None).1, [": resctrl is not mounted on this host"]);
        assert_eq!(checked("null", None), (None, vec![]));
    }

    #[test]
    fn a_class_is_one_directory_the_root_or_the_containers_own() {
        let clos = |id: &str| mounted(&format!(r#"{{"closID": "{id}"}}"#));
        assert_eq!(clos("").0.clos, Clos::Own);
        assert_eq!(clos("/").0.clos, Clos::Default);
        assert_eq!(clos("gold").0.clos, Clos::Named("gold".into()));
        for id in [".", "..", "a/b", "/a", "../x", "info", "a\\n"] {
            assert_eq!(clos(id).1.len(), 1, "{id}");
        }
    }

    #[test]
    fn lines_are_written_in_the_order_of_the_specification() {
        let (rdt, errors) = mounted(
            r#"{"schemata": ["L2:0=f", "MB:0=30"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3CODE:0=f\nL3DATA:0=3"}"#,
        );
        assert!(errors.is_empty());
        assert_eq!(rdt.lines, ["L3CODE:0=f", "L3DATA:0=3", "MB:0=20", "L2:0=f", "MB:0=30"]);
    }

    #[test]
    fn lines_are_lines() {
        let (_, errors) = mounted(r#"{"schemata": ["a", "b\nc"], "memBwSchema": "0=1\n"}"#);
        assert_eq!(
            errors,
            [
                ".memBwSchema: does not begin with \"MB:\"",
                ".memBwSchema: contains a newline",
                ".schemata[1]: contains a newline"
            ]
        );
    }

    #[test]
    fn a_named_class_must_exist_or_be_described() {
        assert!(mounted(r#"{"closID": "gold"}"#).0.needs_existing());
        assert!(!mounted(r#"{"closID": "gold", "l3CacheSchema": "L3:0=f"}"#).0.needs_existing());
        assert!(!mounted("{}").0.needs_existing());
        assert!(!mounted(r#"{"closID": "/"}"#).0.needs_existing());
    }

    #[test]
    fn an_existing_class_must_agree() {
        let (rdt, _) =
            mounted(r#"{"closID": "gold", "l3CacheSchema": "L3:0=7F0;1=1f", "memBwSchema": "MB:0=20"}"#);
        assert_eq!(rdt.differs("    L3:0=7f0;1=01f\n    MB:0= 20;1=100\n"), None);
        assert_eq!(rdt.differs("L3:0=7f0;1=01f\nMB:0=30;1=100\n"), Some("MB:0=20"));
        assert_eq!(rdt.differs("MB:0=20\n"), Some("L3:0=7F0;1=1f"));
    }

    #[test]
    fn monitoring_is_only_on_request() {
        assert_eq!(mounted("{}").0.monitoring, Monitoring::None);
        assert_eq!(mounted(r#"{"enableMonitoring": true}"#).0.monitoring, Monitoring::Own);
    }
}
