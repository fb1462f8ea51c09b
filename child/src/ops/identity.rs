//! Who the program runs as: ids, groups, capabilities, and the proof that they are what was asked.

use rustix::fs::{Gid, Uid, fchown};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, no_new_privs, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_res_gid, set_thread_res_uid,
};
use sys::task::{getgroups, getresgid, getresuid};

use super::devices::is_null;
use super::paths::stat;
use crate::data::Words;
use crate::op::{Capabilities, NoNewPrivs};
use crate::page::{Called, Failure};
use crate::run::Executor;

/// Bits of capability sets that the kernel's numbers can have.
const CAPABILITIES: u32 = 64;

/// More groups than this are put into memory of their own.
const FEW_GROUPS: usize = 32;

impl Executor<'_> {
    pub(crate) fn stdio_owner(&self, uid: u32) -> Result<(), Failure> {
        for number in 0..3 {
            let stream = sys::fd::borrow(number);
            // A closed stream has no owner; the host's null device must keep its own.
            let Ok(seen) = stat(stream) else { continue };
            if is_null(&seen) {
                continue;
            }
            match fchown(stream, Some(Uid::from_raw(uid)), None) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS | Errno::BADF | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(Failure::new("fchown", errno)),
            }
        }
        Ok(())
    }

    pub(crate) fn no_new_privileges(&self) -> Result<(), Failure> {
        set_no_new_privs(true).called("prctl(PR_SET_NO_NEW_PRIVS)")
    }

    pub(crate) fn bounding_set(&self, keep: u64) -> Result<(), Failure> {
        for number in (0..CAPABILITIES).filter(|number| keep & (1 << number) == 0) {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            match remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // The kernel knows no capability of this number, nor any above it.
                Err(Errno::INVAL) => return Ok(()),
                // Without CAP_SETPCAP nothing can be dropped; what is absent already is fine.
                Err(Errno::PERM)
                    if rustix::thread::capability_is_in_bounding_set(capability) == Ok(false) => {}
                Err(errno) => return Err(Failure::new("prctl(PR_CAPBSET_DROP)", errno)),
            }
        }
        Ok(())
    }

    pub(crate) fn ids(&self, uid: u32, gid: u32, groups: Option<Words<'_>>) -> Result<(), Failure> {
        set_keep_capabilities(true).called("prctl(PR_SET_KEEPCAPS)")?;
        if let Some(groups) = groups {
            set_groups(groups)?;
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_res_gid(gid, gid, gid).called("setresgid")?;
        set_thread_res_uid(uid, uid, uid).called("setresuid")
    }

    pub(crate) fn capabilities(&self, sets: Capabilities) -> Result<(), Failure> {
        set_keep_capabilities(false).called("prctl(PR_SET_KEEPCAPS)")?;
        let asked = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(sets.effective),
            permitted: CapabilitySet::from_bits_retain(sets.permitted),
            inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
        };
        set_capabilities(None, asked).called("capset")?;
        match clear_ambient_capability_set() {
            Ok(()) => {}
            Err(errno) => return Err(Failure::new("prctl(PR_CAP_AMBIENT)", errno)),
        }
        for number in (0..CAPABILITIES).filter(|number| sets.ambient & (1 << number) != 0) {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            configure_capability_in_ambient_set(capability, true).called("prctl(PR_CAP_AMBIENT)")?;
        }
        Ok(())
    }

    pub(crate) fn verify_identity(
        &self,
        (uid, gid): (u32, u32),
        groups: Option<Words<'_>>,
        sets: Capabilities,
        no_new_privileges: NoNewPrivs,
    ) -> Result<(), Failure> {
        verify("uid is not as asked", getresuid().called("getresuid")? == [uid; 3])?;
        verify("gid is not as asked", getresgid().called("getresgid")? == [gid; 3])?;
        if let Some(groups) = groups {
            verify_groups(groups)?;
        }
        let seen = capabilities(None).called("capget")?;
        verify("effective set differs", seen.effective.bits() == sets.effective)?;
        verify("permitted set differs", seen.permitted.bits() == sets.permitted)?;
        verify("inheritable set differs", seen.inheritable.bits() == sets.inheritable)?;
        if no_new_privileges == NoNewPrivs::Set {
            verify("no_new_privs is not set", no_new_privs().called("prctl(PR_GET_NO_NEW_PRIVS)")?)?;
        }
        Ok(())
    }
}

fn set_groups(groups: Words<'_>) -> Result<(), Failure> {
    let mut few = [0_u32; FEW_GROUPS];
    let count = groups.count();
    let list = match few.get_mut(..count) {
        Some(list) => list,
        None => sys::map::zeroed(count).called("mmap")?,
    };
    list.iter_mut().zip(groups.iter()).for_each(|(to, from)| *to = from);
    sys::task::setgroups(list).called("setgroups")
}

/// Compares as sets: the kernel sorts the list.
fn verify_groups(groups: Words<'_>) -> Result<(), Failure> {
    let mut few = [0_u32; FEW_GROUPS];
    let count = groups.count();
    let list = match few.get_mut(..count) {
        Some(list) => list,
        None => sys::map::zeroed(count).called("mmap")?,
    };
    // A size of 0 only counts, so more groups than were asked for are seen as well.
    let seen = getgroups(&mut []).called("getgroups")?;
    verify("number of groups differs", seen == count)?;
    if count > 0 {
        getgroups(list).called("getgroups")?;
    }
    list.sort_unstable();
    verify("groups differ", groups.iter().all(|group| list.binary_search(&group).is_ok()))
}

fn verify(what: &'static str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what, Errno::PERM)) }
}
