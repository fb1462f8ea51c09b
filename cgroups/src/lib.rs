//! Control groups of a container: limits, device policy, freeze, kill and statistics, on version 1, version 2, both
//! together (hybrid) and with systemd.
//!
//! One conversion per field of `linux.resources` makes plain data ([`resources::Write`]); the drivers only deliver it. The
//! crate knows nothing of bundles, of states or of how a container is started.
//!
//! Start at [`plan`] and [`prepare`] for a new container, at [`Cgroup`] for one that exists, at [`Layout`] for how the host is
//! mounted.

mod cgroup;
mod controller;
mod delegate;
mod device_program;
mod directory;
mod freeze;
mod groups;
mod join;
mod kill;
mod layout;
mod path;
mod prepare;
mod processes;
mod record;
mod remove;
mod request;
pub mod resources;
pub mod stats;
mod systemd;
mod update;
mod v1;
mod v2;
pub mod watch;

pub use cgroup::Cgroup;
pub use controller::{Controller, Controllers, Homes, Version};
pub use join::Join;
pub use layout::Layout;
pub use prepare::{Prepared, plan, prepare, usual_driver, validate};
pub use processes::describe;
pub use record::{HierarchyMount, Instance, Mounts, Record};
pub use request::{Driver, Owner, Request};
pub use resources::Resources;
pub use stats::{Meter, Stats};
pub use watch::Watch;
