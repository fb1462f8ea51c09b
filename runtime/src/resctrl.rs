//! The resctrl group of a container: made before the program runs, joined by the parent, removed with the container.
//!
//! What may be in `linux.intelRdt` is decided in [`crate::config::intel_rdt`]; this file only does it.
//!
//! <https://docs.kernel.org/filesystems/resctrl.html>

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use sys::error::Context;

use crate::config::intel_rdt::{Clos, IntelRdt, Monitoring};
use crate::{Error, Kind, Result};

/// A group that is ready to be joined.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    monitor: Option<PathBuf>,
    /// The directories that go with the container, in the order in which they are to be removed.
    pub made: Vec<PathBuf>,
}

/// The directories that [`prepare`] will make and that go with the container, in the order in which they are to be
/// removed. What exists already is somebody else's.
pub fn planned(rdt: &IntelRdt, root: &Path, id: &str) -> Vec<PathBuf> {
    let class = class(rdt, root, id);
    let monitor = (rdt.monitoring == Monitoring::Own).then(|| class.join("mon_groups").join(id));
    let own = (rdt.clos == Clos::Own).then_some(class);
    monitor.into_iter().chain(own).filter(|directory| !exists(directory)).collect()
}

/// The directory of the class.
pub fn class(rdt: &IntelRdt, root: &Path, id: &str) -> PathBuf {
    match &rdt.clos {
        Clos::Own => root.join(id),
        Clos::Default => root.to_owned(),
        Clos::Named(name) => root.join(name),
    }
}

/// Makes or checks the class and the monitoring group for the container `id` in the resctrl at `root`.
///
/// # Errors
/// [`Kind::InvalidConfig`] where a class that exists is another one than asked, [`Kind::NotFound`] where one that must
/// exist does not, and what the kernel refuses; nothing is left behind then.
pub fn prepare(rdt: &IntelRdt, root: &Path, id: &str) -> Result<Group> {
    let mut group = Group { path: class(rdt, root, id), monitor: None, made: Vec::new() };
    let prepared = prepare_class(rdt, &mut group).and_then(|()| prepare_monitor(rdt, id, &mut group));
    match prepared {
        Ok(()) => Ok(group),
        Err(error) => Err(match remove(&group.made) {
            Ok(()) => error,
            Err(other) => error.and_also(other),
        }),
    }
}

impl Group {
    /// Moves a process into the group. The monitoring group comes second, as it takes only members of its class.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn join(&self, pid: u32) -> Result<()> {
        for directory in std::iter::once(&self.path).chain(&self.monitor) {
            write(&directory.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }
}

/// Removes what [`prepare`] made; what is gone already is fine.
///
/// # Errors
/// The first directory that the kernel keeps.
pub fn remove(made: &[PathBuf]) -> Result<()> {
    for directory in made {
        match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(directory, "rmdir", errno)),
        }
    }
    Ok(())
}

/// Writes `lines` to the schemata of a class that exists, all or none, and returns the lines that bring back what was
/// before.
///
/// # Errors
/// What the kernel refuses; `InvalidConfig` for a resource that the class does not have.
pub fn update(class: &Path, lines: &[String]) -> Result<Vec<String>> {
    let file = class.join("schemata");
    let present = std::fs::read_to_string(&file).context("read", || file.display().to_string())?;
    let before = lines.iter().map(|line| before(&present, line, class)).collect::<Result<Vec<String>>>()?;
    for (index, line) in lines.iter().enumerate() {
        if let Err(error) = write(&file, &format!("{line}\n")) {
            let undo = before.iter().take(index).rev();
            let failed = undo.filter_map(|line| write(&file, &format!("{line}\n")).err());
            return Err(failed.fold(error, Error::and_also));
        }
    }
    Ok(before)
}

/// The line of `present` for the resource of `line`.
fn before(present: &str, line: &str, class: &Path) -> Result<String> {
    let resource = |line: &str| line.split(':').next().unwrap_or_default().trim().to_owned();
    let found = present.lines().find(|present| resource(present) == resource(line));
    found.map(|line| line.trim().to_owned()).ok_or_else(|| {
        let what = format!("{} has no resource {:?}", class.display(), resource(line));
        Error::invalid("linux.intelRdt", what)
    })
}

fn prepare_class(rdt: &IntelRdt, group: &mut Group) -> Result<()> {
    match (&rdt.clos, exists(&group.path)) {
        (Clos::Named(_) | Clos::Default, true) => return check_existing(rdt, &group.path),
        (Clos::Named(_), false) if rdt.needs_existing() => {
            let what = format!("{} does not exist, and no schema says what to make", group.path.display());
            return Err(Error::new(Kind::NotFound, what).with_key("linux.intelRdt.closID"));
        }
        _ => {}
    }
    make(&group.path)?;
    group.made.push(group.path.clone());
    for line in &rdt.lines {
        write(&group.path.join("schemata"), &format!("{line}\n"))?;
    }
    // A class with a name outlives the container, so it is no longer ours once it is complete.
    if matches!(rdt.clos, Clos::Named(_)) {
        group.made.clear();
    }
    Ok(())
}

fn check_existing(rdt: &IntelRdt, path: &Path) -> Result<()> {
    let file = path.join("schemata");
    let present = std::fs::read_to_string(&file).context("read", || file.display().to_string())?;
    match rdt.differs(&present) {
        None => Ok(()),
        Some(line) => {
            let what = format!("{} exists with another schema than {line:?}", path.display());
            Err(Error::invalid("linux.intelRdt", what))
        }
    }
}

fn prepare_monitor(rdt: &IntelRdt, id: &str, group: &mut Group) -> Result<()> {
    if rdt.monitoring == Monitoring::Own {
        let monitor = group.path.join("mon_groups").join(id);
        make(&monitor)?;
        group.made.insert(0, monitor.clone());
        group.monitor = Some(monitor);
    }
    Ok(())
}

fn exists(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok()
}

fn make(path: &Path) -> Result<()> {
    mkdirat(CWD, path, Mode::from_raw_mode(0o755)).map_err(|errno| match errno {
        Errno::NOSPC => failed(path, "mkdir", errno).with_hint("the hardware has no free class or monitor"),
        errno => failed(path, "mkdir", errno),
    })
}

/// Writes `text` in one write(2), as resctrl wants it.
fn write(path: &Path, text: &str) -> Result<()> {
    let file: OwnedFd = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(path, "open", errno))?;
    rustix::io::write(file.as_fd(), text.as_bytes()).map_err(|errno| {
        let what = format!("write {:?} to {}", text.trim_end(), path.display());
        Error::kernel(what, "write", errno)
            .with_key("linux.intelRdt")
            .with_hint("info/last_cmd_status of resctrl says why")
    })?;
    Ok(())
}

fn failed(path: &Path, call: &'static str, errno: Errno) -> Error {
    Error::kernel(path.display().to_string(), call, errno).with_key("linux.intelRdt")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files that the kernel puts into a class. Only real resctrl makes them by itself, so a class
    /// of the container's own cannot be completed here.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("it-resctrl-{name}-{}", std::process::id()));
            std::fs::create_dir_all(root.join("gold/mon_groups/c1x")).unwrap();
            std::fs::write(root.join("gold/schemata"), "    L3:0=00f;1=00f\n").unwrap();
            std::fs::write(root.join("gold/tasks"), "").unwrap();
            Self(root)
        }

        fn prepare(&self, clos: Clos, lines: &[&str], monitoring: Monitoring) -> Result<Group> {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            prepare(&IntelRdt { clos, lines, monitoring }, &self.0, "c1")
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn named(name: &str) -> Clos {
        Clos::Named(name.to_owned())
    }

    #[test]
    fn an_existing_class_is_joined_and_stays() {
        let fake = Fake::new("join");
        let group = fake.prepare(named("gold"), &["L3:0=f"], Monitoring::Own).unwrap();
        let monitor = fake.0.join("gold/mon_groups/c1");
        assert_eq!(group.made.as_slice(), std::slice::from_ref(&monitor));
        std::fs::write(monitor.join("tasks"), "").unwrap();
        group.join(42).unwrap();
        assert_eq!(std::fs::read_to_string(fake.0.join("gold/tasks")).unwrap(), "42");
        assert_eq!(std::fs::read_to_string(monitor.join("tasks")).unwrap(), "42");
        std::fs::remove_file(monitor.join("tasks")).unwrap();
        remove(&group.made).unwrap();
        remove(&group.made).unwrap();
        assert!(!monitor.exists() && fake.0.join("gold").exists());
    }

    #[test]
    fn what_goes_with_the_container_is_known_before_it_exists() {
        let fake = Fake::new("planned");
        let planned = |clos, monitoring| {
            planned(&IntelRdt { clos, lines: vec![], monitoring }, &fake.0, "c1")
                .iter()
                .map(|path| path.strip_prefix(&fake.0).unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(planned(Clos::Own, Monitoring::Own), ["c1/mon_groups/c1", "c1"]);
        assert_eq!(planned(Clos::Own, Monitoring::None), ["c1"]);
        assert_eq!(planned(Clos::Default, Monitoring::Own), ["mon_groups/c1"]);
        assert_eq!(planned(named("gold"), Monitoring::Own), ["gold/mon_groups/c1"]);
        std::fs::create_dir(fake.0.join("c1")).unwrap();
        assert!(planned(Clos::Own, Monitoring::None).is_empty());
        let error = fake.prepare(Clos::Own, &[], Monitoring::None).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EXIST));
        assert!(fake.0.join("c1").exists());
    }

    #[test]
    fn a_class_that_is_another_or_absent_is_refused() {
        let fake = Fake::new("refuse");
        let error = fake.prepare(named("gold"), &["L3:0=3"], Monitoring::None).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidConfig);
        let error = fake.prepare(named("none"), &[], Monitoring::None).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[test]
    fn an_update_knows_what_was_before() {
        let fake = Fake::new("update");
        let class = fake.0.join("gold");
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(update(&class, &lines(&["L3:0=003;1=00f"])).unwrap(), ["L3:0=00f;1=00f"]);
        assert!(std::fs::read_to_string(class.join("schemata")).unwrap().starts_with("L3:0=003;1=00f\n"));
        let error = update(&class, &lines(&["L3:0=1", "MB:0=10"])).unwrap_err();
        assert_eq!((error.kind(), error.key()), (Kind::InvalidConfig, Some("linux.intelRdt")));
        assert!(std::fs::read_to_string(class.join("schemata")).unwrap().starts_with("L3:0=003;1=00f\n"));
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let fake = Fake::new("undo");
        for clos in [Clos::Own, named("silver")] {
            let error = fake.prepare(clos, &["L3:0=f"], Monitoring::None).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::NOENT));
        }
        let left: Vec<_> =
            std::fs::read_dir(&fake.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["gold"]);
    }
}
