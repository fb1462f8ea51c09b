//! `process.user`: ids, supplementary groups and umask.
//!
//! Ids are those inside the container's user namespace. An id that the namespace does not map could only be refused by
//! the kernel late and without a name, so it is refused here.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#posix-platform-user>

use child::{Op, Words};
use serde::{Deserialize, Serialize};

use super::Problems;
use super::idmappings::{IdMappings, Owner};
use super::process::Context;
use crate::facts::Facts;
use crate::json::{Integer, or_default};
use crate::step::Step;

// ── Shape ──

/// `process.user` as written. `username` is a key of Windows.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// The user id; 0 if absent.
    pub uid: Option<Integer>,
    /// The group id; 0 if absent.
    pub gid: Option<Integer>,
    /// The file mode mask.
    pub umask: Option<Integer>,
    /// Supplementary groups.
    #[serde(deserialize_with = "or_default")]
    pub additional_gids: Vec<Integer>,
}

// ── Rules ──

/// (uid_t) -1 means "no change" to the kernel, so nobody can have it.
const NOBODY: u32 = u32::MAX;

/// The most supplementary groups that a process can have (NGROUPS_MAX).
const MOST_GROUPS: usize = 65_536;

/// The mask of a program whose configuration has none. The caller's own would make the result depend on who calls.
const DEFAULT_UMASK: u32 = 0o022;

/// What becomes of the supplementary groups that the caller has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Groups {
    /// `additionalGids` takes their place.
    #[default]
    Replace,
    /// They stay: the annotation `run.oci.keep_original_groups`.
    Keep,
}

/// Whether setgroups(2) is allowed in the container's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setgroups {
    /// It is.
    Allowed,
    /// The only gid is mapped by a caller without CAP_SETGID, which the kernel allows only after "deny" was written to
    /// /proc/PID/setgroups. user_namespaces(7).
    Denied,
}

/// Whether a new user namespace with these maps, made by this caller, has setgroups(2).
pub fn setgroups(mappings: &IdMappings, facts: &Facts) -> Setgroups {
    let unprivileged = facts.permitted() & CAP_SETGID == 0;
    match mappings.owner {
        Owner::New if mappings.gid.single().is_some() && unprivileged => Setgroups::Denied,
        Owner::New | Owner::Joined | Owner::Runtime => Setgroups::Allowed,
    }
}

const CAP_SETGID: u64 = 1 << 6;

/// The identity of a program, valid.
#[derive(Debug)]
pub struct User {
    uid: u32,
    gid: u32,
    umask: u32,
    /// The numbers in the byte order of the machine; `None` keeps what the caller had.
    groups: Option<Vec<u8>>,
}

/// Checks ids, groups and umask.
pub fn check(shape: &Shape, context: &Context<'_>, problems: &mut Problems) -> User {
    let uid = id(shape.uid.unwrap_or_default(), "process.user.uid", problems);
    let gid = id(shape.gid.unwrap_or_default(), "process.user.gid", problems);
    if let Some(uid) = uid.filter(|uid| !has_uid(context.id_mappings, *uid)) {
        problems.invalid("process.user.uid", unmapped("uid", uid));
    }
    if let Some(gid) = gid.filter(|gid| !has_gid(context.id_mappings, *gid)) {
        problems.invalid("process.user.gid", unmapped("gid", gid));
    }
    User {
        uid: uid.unwrap_or_default(),
        gid: gid.unwrap_or_default(),
        umask: umask(shape.umask, problems),
        groups: groups(&shape.additional_gids, context, problems),
    }
}

/// A number that can be an id; everything else is reported.
fn id(number: Integer, key: &str, problems: &mut Problems) -> Option<u32> {
    let id = u32::try_from(number.0).ok().filter(|id| *id != NOBODY);
    if id.is_none() {
        problems.invalid(key.to_owned(), format!("{number} is no id; ids are 0 to {}", NOBODY - 1));
    }
    id
}

/// The maps of a namespace that is joined may not be known yet; the kernel decides then.
fn has_uid(mappings: &IdMappings, uid: u32) -> bool {
    mappings.uid.is_empty() || mappings.host_uid(uid).is_some()
}

fn has_gid(mappings: &IdMappings, gid: u32) -> bool {
    mappings.gid.is_empty() || mappings.host_gid(gid).is_some()
}

fn unmapped(kind: &str, id: u32) -> String {
    format!("{kind} {id} is not mapped into the user namespace; see linux.{kind}Mappings")
}

fn umask(umask: Option<Integer>, problems: &mut Problems) -> u32 {
    let Some(umask) = umask else { return DEFAULT_UMASK };
    match u32::try_from(umask.0) {
        Ok(mask) if mask <= 0o777 => mask,
        _ => {
            problems.invalid(
                "process.user.umask",
                format!("{umask} is no mask; masks are 0 to 511 (octal 0777)"),
            );
            DEFAULT_UMASK
        }
    }
}

fn groups(gids: &[Integer], context: &Context<'_>, problems: &mut Problems) -> Option<Vec<u8>> {
    const KEY: &str = "process.user.additionalGids";
    if gids.len() > MOST_GROUPS {
        problems.invalid(KEY, format!("{} groups; the kernel takes {MOST_GROUPS}", gids.len()));
    }
    let mut numbers = Vec::with_capacity(gids.len() * 4);
    for (index, gid) in gids.iter().enumerate() {
        let key = format!("{KEY}[{index}]");
        let Some(gid) = id(*gid, &key, problems) else { continue };
        if !has_gid(context.id_mappings, gid) {
            problems.invalid(key, unmapped("gid", gid));
        }
        numbers.extend(gid.to_ne_bytes());
    }
    let kept = context.groups == Groups::Keep;
    let denied = setgroups(context.id_mappings, context.facts) == Setgroups::Denied;
    if denied && !kept && !gids.is_empty() {
        problems
            .unsupported(KEY, "a user namespace whose gids are mapped without newgidmap has no setgroups(2)");
    }
    (!kept && !denied).then_some(numbers)
}

// ── Steps ──

impl User {
    /// The user id inside the container.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group id inside the container.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The supplementary groups; `None` keeps the caller's.
    pub fn groups(&self) -> Option<Words<'_>> {
        self.groups.as_deref().map(Words::new)
    }

    /// Sets the file mode mask.
    pub fn umask_step(&self) -> Step<'_> {
        Step::new("process.user.umask", Op::Umask { mask: self.umask })
    }

    /// Takes the ids.
    pub fn ids_step(&self) -> Step<'_> {
        Step::new("process.user", Op::Ids { uid: self.uid, gid: self.gid, groups: self.groups() })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::idmappings::IdMap;
    use crate::config::namespaces::Namespaces;

    fn checked(json: &str, mappings: &IdMappings, groups: Groups) -> (User, Vec<String>) {
        let facts = Facts { permitted: 0.into(), ..Facts::default() };
        let context =
            Context { namespaces: &Namespaces::default(), id_mappings: mappings, facts: &facts, groups };
        let mut problems = Problems::default();
        let user = check(&serde_json::from_str(json).unwrap(), &context, &mut problems);
        (user, problems.errors.iter().map(|error| error.to_string().replace("process.user.", "")).collect())
    }

    /// A new user namespace with these lines of maps.
    fn new(uids: &str, gids: &str) -> IdMappings {
        let map = |lines| IdMap::parse(lines).unwrap();
        IdMappings { owner: Owner::New, uid: map(uids), gid: map(gids) }
    }

    fn errors(json: &str) -> Vec<String> {
        checked(json, &IdMappings::default(), Groups::Replace).1
    }

    #[test]
    fn an_id_is_exact_or_refused() {
        for uid in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1] {
            let json = format!(r#"{{"uid": {uid}, "gid": {uid}, "additionalGids": [{uid}]}}"#);
            let (user, errors) = checked(&json, &IdMappings::default(), Groups::Replace);
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!((user.uid(), user.gid()), (uid, uid));
            assert!(user.groups().unwrap().iter().eq([uid]));
        }
        for uid in ["4294967295", "4294967296", "-1", "18446744073709551615"] {
            let json = format!(r#"{{"uid": {uid}, "gid": {uid}, "additionalGids": [0, {uid}]}}"#);
            let text = format!("{uid} is no id; ids are 0 to 4294967294");
            assert_eq!(
                errors(&json),
                [format!("uid: {text}"), format!("gid: {text}"), format!("additionalGids[1]: {text}")]
            );
        }
        for uid in ["1.0", "\"0\"", "1e3", "[]"] {
            assert!(serde_json::from_str::<Shape>(&format!(r#"{{"uid": {uid}}}"#)).is_err(), "{uid}");
        }
    }

    #[test]
    fn a_missing_user_is_root_without_groups() {
        let (user, errors) = checked("{}", &IdMappings::default(), Groups::Replace);
        assert!(errors.is_empty());
        assert_eq!(user.umask_step().op, Op::Umask { mask: 0o022 });
        assert_eq!(user.ids_step().op, Op::Ids { uid: 0, gid: 0, groups: Some(Words::default()) });
    }

    #[test]
    fn the_umask_is_as_asked() {
        let (user, _) = checked(r#"{"umask": 63}"#, &IdMappings::default(), Groups::Replace);
        assert_eq!(user.umask_step().op, Op::Umask { mask: 0o077 });
        for umask in ["512", "-1", "4294967296"] {
            let text = format!("umask: {umask} is no mask; masks are 0 to 511 (octal 0777)");
            assert_eq!(errors(&format!(r#"{{"umask": {umask}}}"#)), [text]);
        }
    }

    #[test]
    fn an_unmapped_id_is_refused() {
        let mappings = new("0 5000 1", "0 5000 10\n100 6000 1");
        let (_, errors) =
            checked(r#"{"uid": 1, "gid": 10, "additionalGids": [9, 100, 101]}"#, &mappings, Groups::Replace);
        assert_eq!(
            errors,
            [
                "uid: uid 1 is not mapped into the user namespace; see linux.uidMappings",
                "gid: gid 10 is not mapped into the user namespace; see linux.gidMappings",
                "additionalGids[2]: gid 101 is not mapped into the user namespace; see linux.gidMappings",
            ]
        );
    }

    #[test]
    fn groups_stay_where_they_cannot_be_set_or_are_kept() {
        let denied = new("0 5000 1", "0 5000 1");
        let (user, errors) = checked("{}", &denied, Groups::Replace);
        assert_eq!((user.groups(), errors.len()), (None, 0));
        let (_, errors) = checked(r#"{"additionalGids": [0]}"#, &denied, Groups::Replace);
        assert_eq!(errors.len(), 1);
        let (user, errors) = checked(r#"{"additionalGids": [0]}"#, &IdMappings::default(), Groups::Keep);
        assert_eq!((user.groups(), errors.len()), (None, 0));
    }

    #[test]
    fn the_kernel_takes_65536_groups() {
        let gids = |count: usize| format!(r#"{{"additionalGids": [{}]}}"#, vec!["7"; count].join(","));
        assert!(errors(&gids(65_536)).is_empty());
        assert_eq!(errors(&gids(65_537)), ["additionalGids: 65537 groups; the kernel takes 65536"]);
    }
}
