//! How each step is done, one family a file.
//!
//! Every method takes exactly the fields of its variant of [`crate::Op`], whose documentation lists the choices that it
//! makes at run time. No method orders steps.

mod console;
mod devices;
mod exec;
mod hidden;
mod hooks;
mod identity;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod procfs;
mod root;
