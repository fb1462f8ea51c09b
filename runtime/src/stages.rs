//! Which namespaces come by clone, by setns or by unshare, and how many processes that takes. Pure.
//!
//! ```text
//! nothing joined        clone3(all new)                                             one process
//! joined, no user       clone3(all new), setns(each)                                one
//! joined with user      clone3(), setns(each, user last), then unshare(new)         one, two with a new pid namespace
//! joined and new user   clone3(), setns(each), clone3(all new)                      two: a new user namespace could
//!                                                                                   not join what the host owns
//! pid namespace joined  ... setns(pid), clone3(all new)                             two: it holds for children only
//! ```
//!
//! A cgroup namespace is unshared after the cgroup is joined, unless the process is born in its v2 group. A time
//! namespace with offsets is unshared, because clone3(CLONE_NEWTIME) would freeze the offsets; whatever is unshared is then
//! entered by setns(2).

use crate::config::namespaces::{Kind, Namespaces};

/// What the caller and the host decide about the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the first process is born in a v2 cgroup, so that a new cgroup namespace begins there.
    pub born_in_cgroup: Born,
    /// Whether the runtime has rights over namespaces that the host's user namespace owns.
    pub privilege: Privilege,
}

/// Where the container's cgroup comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// CLONE_INTO_CGROUP on pure v2.
    InCgroup,
    /// The child joins by itself.
    Outside,
}

/// What the runtime may do before it has joined the user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// CAP_SYS_ADMIN on the host: namespaces of the host's are joined first, the user namespace last.
    Host,
    /// None: the user namespace is joined first and gives the right to join the rest.
    Rootless,
}

/// The stages of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    /// CLONE_NEW* flags of the first clone.
    pub first: u32,
    /// The namespaces to join, in order.
    pub join: Vec<Kind>,
    /// CLONE_NEW* flags of the second clone, if there is one.
    pub second: Option<u32>,
    /// CLONE_NEW* flags to unshare after that.
    pub unshare: u32,
    /// Whether the time namespace is unshared, its offsets are set and it is entered.
    pub unshare_time: bool,
    /// Whether the cgroup namespace is unshared after the cgroup was joined.
    pub unshare_cgroup: bool,
}

/// Decides the stages.
pub fn stages(namespaces: &Namespaces, offsets: bool, conditions: Conditions) -> Stages {
    let joined = join_order(namespaces, conditions.privilege);
    let in_two = joined.contains(&Kind::Pid)
        || (!joined.is_empty() && namespaces.is_new(Kind::User))
        || (joined.contains(&Kind::User) && namespaces.is_new(Kind::Pid));
    // unshare(2) leaves its caller outside of a time namespace, so that one is never among the rest.
    let rest_by_unshare = joined.contains(&Kind::User) && !in_two;
    let unshare_time = namespaces.is_new(Kind::Time) && (offsets || rest_by_unshare);
    let born_first = conditions.born_in_cgroup == Born::InCgroup && !in_two;
    let unshare_cgroup = namespaces.is_new(Kind::Cgroup) && !born_first;
    let new = new_flags(namespaces, |kind| {
        (kind == Kind::Time && unshare_time) || (kind == Kind::Cgroup && unshare_cgroup)
    });
    let (first, second, unshare) = match (in_two, joined.contains(&Kind::User)) {
        (true, _) => (0, Some(new), 0),
        (false, true) => (0, None, new),
        (false, false) => (new, None, 0),
    };
    Stages { first, join: joined, second, unshare, unshare_time, unshare_cgroup }
}

/// The mount namespace is joined last but for a user namespace, because paths change their meaning with it.
fn join_order(namespaces: &Namespaces, privilege: Privilege) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = namespaces.joined.iter().map(|joined| joined.0).collect();
    kinds.sort_by_key(|kind| match (kind, privilege) {
        (Kind::User, Privilege::Rootless) => 0,
        (Kind::Mount, _) => 2,
        (Kind::User, Privilege::Host) => 3,
        _ => 1,
    });
    kinds
}

fn new_flags(namespaces: &Namespaces, later: impl Fn(Kind) -> bool) -> u32 {
    namespaces.new.iter().filter(|kind| !later(**kind)).fold(0, |flags, kind| flags | *kind as u32)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const HOST: Conditions = Conditions { born_in_cgroup: Born::Outside, privilege: Privilege::Host };
    const ROOTLESS: Conditions = Conditions { born_in_cgroup: Born::Outside, privilege: Privilege::Rootless };
    const V2: Conditions = Conditions { born_in_cgroup: Born::InCgroup, privilege: Privilege::Host };

    fn case(
        new: &[Kind],
        joined: &[Kind],
        conditions: Conditions,
    ) -> (u32, Vec<Kind>, Option<u32>, u32, bool) {
        let joined = joined.iter().map(|kind| (*kind, 0, PathBuf::from("/proc/1/ns/x"))).collect();
        let stages =
            stages(&Namespaces { new: new.to_vec(), joined, ..Namespaces::default() }, false, conditions);
        (stages.first, stages.join, stages.second, stages.unshare, stages.unshare_cgroup)
    }

    fn flags(kinds: &[Kind]) -> u32 {
        kinds.iter().fold(0, |flags, kind| flags | *kind as u32)
    }

    #[test]
    fn each_combination_takes_as_few_processes_as_the_kernel_allows() {
        use Kind::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
        let all = [Pid, Mount, Network, Ipc, Uts];
        assert_eq!(case(&all, &[], HOST), (flags(&all), vec![], None, 0, false));
        assert_eq!(case(&[Mount, Cgroup], &[], HOST), (flags(&[Mount]), vec![], None, 0, true));
        assert_eq!(case(&[Mount, Cgroup], &[], V2), (flags(&[Mount, Cgroup]), vec![], None, 0, false));
        assert_eq!(
            case(&[Mount, Pid], &[Network], HOST),
            (flags(&[Mount, Pid]), vec![Network], None, 0, false)
        );
        assert_eq!(
            case(&[Mount, User], &[Network], HOST),
            (0, vec![Network], Some(flags(&[Mount, User])), 0, false)
        );
        assert_eq!(
            case(&[Mount], &[User, Network], HOST),
            (0, vec![Network, User], None, flags(&[Mount]), false)
        );
        assert_eq!(
            case(&[Mount], &[Network, User], ROOTLESS),
            (0, vec![User, Network], None, flags(&[Mount]), false)
        );
        assert_eq!(case(&[Mount, Pid], &[User], HOST), (0, vec![User], Some(flags(&[Mount, Pid])), 0, false));
        assert_eq!(case(&[Mount], &[Pid], HOST), (0, vec![Pid], Some(flags(&[Mount])), 0, false));
        assert_eq!(case(&[Mount, Cgroup], &[Pid], V2), (0, vec![Pid], Some(flags(&[Mount])), 0, true));
        assert_eq!(case(&[], &[Mount, User, Ipc], HOST), (0, vec![Ipc, Mount, User], None, 0, false));
    }

    #[test]
    fn time_offsets_are_set_before_the_namespace_is_entered() {
        let namespaces = Namespaces::all_new(&[Kind::Time, Kind::Mount]);
        assert!(stages(&namespaces, true, HOST).unshare_time);
        assert_eq!(stages(&namespaces, true, HOST).first, Kind::Mount as u32);
        let without = stages(&namespaces, false, HOST);
        assert_eq!(without.first, Kind::Mount as u32 | Kind::Time as u32);
        assert!(!without.unshare_time);
    }

    #[test]
    fn a_time_namespace_that_is_unshared_is_entered() {
        let joined = vec![(Kind::User, 0, PathBuf::from("/proc/1/ns/user"))];
        let namespaces = Namespaces { joined, ..Namespaces::all_new(&[Kind::Time, Kind::Mount]) };
        let stages = stages(&namespaces, false, HOST);
        assert_eq!((stages.unshare_time, stages.unshare), (true, Kind::Mount as u32));
    }
}
