//! `containerd-shim-orlop-v2`: what stands between containerd and a container.
//!
//! containerd runs it once for each container: [`start`] makes a process that serves the container, or the whole pod, and
//! prints the address of its socket; [`cleanup`] removes what is left. The process itself is [`shim`], one thread with one
//! loop. It speaks ttrpc ([`frame`], [`connection`], [`service`]), keeps its containers ([`container`], [`lifecycle`]),
//! copies their streams ([`stdio`], [`copy`]) and tells containerd what happens ([`events`]). Whatever may take long is done by
//! a forked [`helper`] with the runtime's library ([`runtime`]) or with another runtime's program ([`binary`]).
//!
//! It is not a runtime: how a container is made is the library's matter.

mod address;
mod args;
mod binary;
mod bootstrap;
mod checkpoint;
mod cleanup;
mod connection;
mod container;
mod copy;
mod events;
mod failure;
mod frame;
mod helper;
mod info;
mod lifecycle;
mod log;
mod logger;
mod mounts;
mod oom;
mod options;
mod poll;
mod proto;
mod runtime;
mod service;
mod shim;
mod start;
mod stats;
mod stdio;

use std::process::ExitCode;

use args::{Action, Args};

fn main() -> ExitCode {
    let args = Args::read(std::env::args_os().skip(1));
    let done = match args.action {
        Action::Start => start::start(&args),
        Action::Delete => cleanup::delete(&args),
        Action::Version => info::version(),
        Action::Info => info::info(),
        Action::Unknown => {
            eprintln!(
                "usage: containerd-shim-orlop-v2 -namespace NS -address SOCKET -id ID start|delete, or -v, -info"
            );
            return ExitCode::FAILURE;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
