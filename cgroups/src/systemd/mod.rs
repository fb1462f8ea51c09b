//! The systemd driver: a container's group is a transient scope that systemd makes, for pure version 2 hosts.
//!
//! The scope is started around the cloned child that waits, with every limit that has a property (see `property.rs`); then
//! the files get all limits as the conversion made them, so what is in force does not depend on systemd's rounding, and
//! the device program is attached by us. systemd does not know of that program, so no reload takes devices away.
//!
//! On hosts with version 1 hierarchies the driver is refused: there systemd resets device lists when it reloads.

mod bus;
mod gvariant;
mod message;
pub(crate) mod property;
mod unit;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use sys::{Error, Kind, Result};

use crate::controller::Version;
use crate::directory::Directory;
use crate::layout::{Layout, own_groups};
use crate::record::{Instance, Place, Record, Unit, join};
use crate::request::{Owner, Request};
use crate::resources::devices::Policy;
use crate::resources::{self, IfAbsent, Write};
use crate::{delegate, device_program, v2};

use bus::{Bus, Route, text};
use message::{Call, Incoming, Value};
use unit::UnitPath;

/// How long systemd may take for one command.
const DEADLINE: Duration = Duration::from_secs(30);

/// Everything that is wrong with `request` for this driver.
pub(crate) fn validate(request: &Request<'_>, layout: &Layout) -> Vec<Error> {
    let mut errors = Vec::new();
    if !layout.is_pure_v2() {
        let what = format!("the systemd driver needs a pure version 2 host; this one is {}", layout.name());
        errors.push(Error::new(Kind::Unsupported, what).with_hint("use --cgroup-manager cgroupfs"));
    }
    if request.leaf.is_some() {
        errors.push(Error::new(Kind::Unsupported, "a leaf for init needs the cgroupfs driver"));
    }
    errors.extend(UnitPath::new(request.cgroups_path, request.id).err());
    errors
        .extend(request.properties.iter().filter_map(|(name, value)| gvariant::property(name, value).err()));
    errors
}

/// Whether this driver can serve a container of that `cgroupsPath` here.
pub(crate) fn is_usable(cgroups_path: Option<&str>, instance: Instance, layout: &Layout) -> bool {
    let socket = match instance {
        Instance::System => Some("/run/systemd/private".to_owned()),
        Instance::User => runtime_directory().ok().map(|directory| format!("{directory}/systemd/private")),
    };
    let there = socket.is_some_and(|path| std::fs::exists(path).unwrap_or(false));
    // The id is checked where the unit is named.
    layout.is_pure_v2() && there && UnitPath::new(cgroups_path, "id").is_ok()
}

/// Where the scope of `request` will be.
pub(crate) fn plan(request: &Request<'_>, layout: &Layout) -> Result<Record> {
    let path = UnitPath::new(request.cgroups_path, request.id)?;
    let instance = if request.rootless { Instance::User } else { Instance::System };
    let slice = match (path.slice.as_str(), instance) {
        ("", Instance::System) => "system.slice".to_owned(),
        ("", Instance::User) => "user.slice".to_owned(),
        (slice, _) => slice.to_owned(),
    };
    let base = match instance {
        Instance::System => String::new(),
        Instance::User => user_base()?,
    };
    let places = layout.hierarchies.iter().map(|hierarchy| Place {
        version: Version::V2,
        mount: hierarchy.mount.clone(),
        names: String::new(),
        base: base.clone(),
    });
    Ok(Record {
        driver: request.driver,
        path: join(&unit::slice_path(&slice), &path.unit),
        places: places.collect(),
        leaf: None,
        unit: Some(Unit { name: path.unit, slice, instance }),
    })
}

/// The group of the user's systemd. A caller that it started is beneath it and sees it in its own path.
fn user_base() -> Result<String> {
    let own = own_groups()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mut base = String::new();
    for name in path.split('/') {
        base = join(&base, name);
        if name.starts_with("user@") && name.ends_with(".service") {
            return Ok(base);
        }
    }
    let mut bus = connect(Instance::User, Instant::now() + DEADLINE)?;
    let arguments = [text("org.freedesktop.systemd1.Manager"), text("ControlGroup")];
    let answer = succeed(bus.call(&Call::for_property(&arguments))?, "ask for systemd's own group")?;
    Ok(answer.texts.first().map_or(String::new(), |path| path.trim_matches('/').to_owned()))
}

/// What is done once the child is there.
#[derive(Debug)]
pub(crate) struct Pending {
    bus: RefCell<Bus>,
    unit: Unit,
    place: Place,
    path: String,
    writes: Vec<Write>,
    policy: Policy,
    properties: Vec<(String, Value)>,
    owner: Option<Owner>,
    rootless: bool,
}

/// Connects to systemd and makes everything ready that does not need the child.
pub(crate) fn prepare(request: &Request<'_>, layout: &Layout, record: &Record) -> Result<Pending> {
    let missing = || Error::new(Kind::Internal, "a systemd record without unit or place");
    let unit = record.unit.clone().ok_or_else(missing)?;
    let place = record.places.first().cloned().ok_or_else(missing)?;
    let writes = resources::all(request.resources.writes(layout.controllers()))?;
    let mut properties = unit_properties(request, &unit, &writes);
    for (name, value) in request.properties {
        let (name, value) = gvariant::property(name, value)?;
        properties.retain(|(other, _)| *other != name);
        properties.push((name, value));
    }
    Ok(Pending {
        bus: RefCell::new(connect(unit.instance, Instant::now() + DEADLINE)?),
        unit,
        place,
        path: record.path.clone(),
        writes,
        policy: resources::all(request.resources.device_policy())?,
        properties,
        owner: request.owner,
        rootless: request.rootless,
    })
}

fn unit_properties(request: &Request<'_>, unit: &Unit, writes: &[Write]) -> Vec<(String, Value)> {
    let mut properties = vec![
        ("Description", Value::Text(format!("orlop container {}", request.id))),
        ("Slice", Value::Text(unit.slice.clone())),
        ("Delegate", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
    ];
    let certain = writes.iter().filter(|write| !matches!(write.if_absent, IfAbsent::Instead { .. }));
    properties.extend(certain.flat_map(|write| property::of(&write.file, &write.value)));
    properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Pending {
    /// Starts the scope around `pid` and limits it.
    pub(crate) fn adopt(&self, pid: Pid) -> Result<()> {
        self.start(pid)?;
        let root = Directory::mount_point(&self.place.mount, self.place.version)?;
        let names = self.place.group(&self.path);
        let group = root.open(&names)?;
        // systemd enables the controllers that it knows; huge pages and RDMA are not among them.
        let present = v2::enable(&root, &root.read_short("cgroup.controllers")?, &names, &group)?;
        for write in &self.writes {
            present.check(write)?;
            write.deliver(&group)?;
        }
        self.tell_of_other_files(&group)?;
        match device_program::install(&group, &self.policy) {
            Err(error) if self.rootless && error.errno() == Some(rustix::io::Errno::PERM) => {}
            other => other?,
        }
        match self.owner {
            Some(owner) => delegate::delegate(&group, Version::V2, "", owner),
            None => Ok(()),
        }
    }

    /// Which of two files a weight goes to is seen only in the group, so systemd hears of it when there is one.
    fn tell_of_other_files(&self, group: &Directory) -> Result<()> {
        let either = self.writes.iter().filter(|write| matches!(write.if_absent, IfAbsent::Instead { .. }));
        let targets = either.map(|write| write.target(group)).collect::<Result<Vec<_>>>()?;
        change(&mut self.bus.borrow_mut(), &self.unit, targets.into_iter().flatten())
    }

    /// A unit of that name may have failed before and still be known; then it is forgotten and the start tried again.
    fn start(&self, pid: Pid) -> Result<()> {
        let mut bus = self.bus.borrow_mut();
        bus.set_deadline(Instant::now() + DEADLINE);
        let mut properties = self.properties.clone();
        properties.push(("PIDs".to_owned(), Value::Pids(vec![pid.as_raw_nonzero().get().unsigned_abs()])));
        let name = text(&self.unit.name);
        let arguments = [name.clone(), text("fail"), Value::Properties(properties), Value::NoUnits];
        match start_unit(&mut bus, &arguments) {
            Err(error) if error.kind() == Kind::AlreadyExists => {
                bus.call(&Call::to_manager("ResetFailedUnit", &[name]))?;
                start_unit(&mut bus, &arguments)
            }
            other => other,
        }
    }
}

/// Calls StartTransientUnit and waits until its job has ended.
fn start_unit(bus: &mut Bus, arguments: &[Value]) -> Result<()> {
    let what = "start the container's scope";
    let rule = [text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'")];
    let start = Call::to_manager("StartTransientUnit", arguments);
    let calls = match bus.route() {
        Route::Private => vec![start],
        Route::Bus => vec![Call::to_bus("AddMatch", &rule), Call::to_manager("Subscribe", &[]), start],
    };
    let serial = bus.send_calls(&calls)?.pop();
    let mut job: Option<String> = None;
    let mut ended: Vec<Incoming> = Vec::new();
    loop {
        let message = bus.next()?;
        if message.reply_to.is_some() && message.reply_to == serial {
            job = succeed(message, what)?.texts.first().cloned();
        } else if message.member == "JobRemoved" {
            ended.push(message);
        }
        // The signal may come before the reply. Its texts are the job, the unit and the result.
        let done = ended.iter().find(|signal| job.is_some() && signal.texts.first() == job.as_ref());
        if let Some(signal) = done {
            return match signal.texts.get(2).map_or("", String::as_str) {
                "done" => Ok(()),
                result => Err(Error::new(Kind::Kernel, format!("{what}: systemd says {result:?}"))),
            };
        }
    }
}

/// Tells systemd of changed limits: file and value of each.
pub(crate) fn set_limits<'a>(unit: &Unit, values: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let properties = properties_of(values);
    if properties.is_empty() {
        return Ok(());
    }
    set_properties(&mut connect(unit.instance, Instant::now() + DEADLINE)?, unit, properties)
}

/// The same over a connection that is there.
fn change<'a>(bus: &mut Bus, unit: &Unit, values: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    match properties_of(values) {
        properties if properties.is_empty() => Ok(()),
        properties => set_properties(bus, unit, properties),
    }
}

fn properties_of<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, Value)> {
    let properties = values.flat_map(|(file, value)| property::of(file, value));
    properties.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn set_properties(bus: &mut Bus, unit: &Unit, properties: Vec<(String, Value)>) -> Result<()> {
    let arguments = [text(&unit.name), Value::Bool(true), Value::Properties(properties)];
    let answer = bus.call(&Call::to_manager("SetUnitProperties", &arguments))?;
    succeed(answer, "change the container's scope").map(|_| ())
}

/// Stops the scope and makes systemd forget it; one that it does not know is fine.
pub(crate) fn stop(unit: &Unit, deadline: Instant) -> Result<()> {
    let mut bus = connect(unit.instance, deadline.max(Instant::now() + Duration::from_secs(1)))?;
    let name = [text(&unit.name)];
    let stop = [text(&unit.name), text("replace")];
    let calls = [Call::to_manager("StopUnit", &stop), Call::to_manager("ResetFailedUnit", &name)];
    let mut waiting = bus.send_calls(&calls)?;
    let mut result = Ok(());
    while !waiting.is_empty() {
        let message = bus.next()?;
        let Some(serial) = message.reply_to else { continue };
        waiting.retain(|other| *other != serial);
        match succeed(message, "stop the container's scope") {
            Err(error) if error.kind() != Kind::NotFound => result = Err(error),
            _ => {}
        }
    }
    result
}

/// systemd's own socket answers without a detour and while the bus is busy; the bus serves who may not use that.
fn connect(instance: Instance, deadline: Instant) -> Result<Bus> {
    let (private, public) = match instance {
        Instance::System => ("/run/systemd/private".to_owned(), "/run/dbus/system_bus_socket".to_owned()),
        Instance::User => {
            let directory = runtime_directory()?;
            (format!("{directory}/systemd/private"), format!("{directory}/bus"))
        }
    };
    Bus::connect(&private, Route::Private, deadline).or_else(|first| {
        if first.kind() == Kind::Timeout {
            return Err(first);
        }
        let second = Bus::connect(&public, Route::Bus, deadline);
        second.map_err(|second| {
            first.and_also(second).with_hint(
                "is systemd running here, and for a user, is there a session (loginctl enable-linger)?",
            )
        })
    })
}

fn runtime_directory() -> Result<String> {
    std::env::var("XDG_RUNTIME_DIR").ok().filter(|path| path.starts_with('/')).ok_or_else(|| {
        Error::new(Kind::Unsupported, "XDG_RUNTIME_DIR is not set, so the user's systemd cannot be found")
            .with_hint("log in through a session, or use --cgroup-manager cgroupfs")
    })
}

/// The answer, unless it is an error.
fn succeed(message: Incoming, what: &str) -> Result<Incoming> {
    let Some(name) = &message.error else { return Ok(message) };
    let kind = match name.as_str() {
        "org.freedesktop.systemd1.UnitExists" => Kind::AlreadyExists,
        "org.freedesktop.systemd1.NoSuchUnit" => Kind::NotFound,
        _ => Kind::Kernel,
    };
    let text = message.texts.first().map_or("", String::as_str);
    Err(Error::new(kind, format!("{what}: systemd: {text} ({name})")))
}
