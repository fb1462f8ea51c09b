//! `update`: other limits for a container that exists.

use std::io::Read;

use cgroups::Resources;
use cgroups::resources::blkio::BlockIo;
use cgroups::resources::cpu::Cpu;
use cgroups::resources::memory::Memory;
use cgroups::resources::pids::Pids;
use sys::error::Context;

use super::container;
use crate::cli::args::{self, Globals, Limits, UpdateSource};
use crate::config::intel_rdt::update_lines;
use crate::state::Status;
use crate::{Error, Kind, Result, bundle, limits};

pub(super) fn update(globals: &Globals, options: &args::Update) -> Result<u8> {
    let resources = resources(&options.limits)?;
    let schema = |text: &Option<String>| text.clone().unwrap_or_default();
    let lines = update_lines(&schema(&options.l3_cache_schema), &schema(&options.mem_bw_schema))?;
    let directory = container(globals, &options.id)?;
    directory.lock()?;
    let (record, state) = directory.open_record()?;
    if state.status(&record.page()?)? == Status::Stopped {
        return Err(Error::new(Kind::WrongState, format!("container {}: container not running", state.id)));
    }
    limits::update(&directory, &state, &resources, &lines)?;
    Ok(0)
}

fn resources(source: &UpdateSource) -> Result<Resources> {
    match source {
        UpdateSource::Options(limits) => Ok(from_options(limits)),
        UpdateSource::File(path) => bundle::parse(&bundle::read_argument(path)?, &path.display().to_string()),
        UpdateSource::Stdin => {
            const NAME: &str = "standard input";
            let mut text = Vec::new();
            let limit = bundle::LARGEST + 1;
            std::io::stdin().take(limit).read_to_end(&mut text).context("read", || format!("read {NAME}"))?;
            if text.len() as u64 == limit {
                return Err(Error::new(Kind::InvalidConfig, format!("{NAME} has more than 64 MiB")));
            }
            bundle::parse(&text, NAME)
        }
    }
}

fn from_options(limits: &Limits) -> Resources {
    Resources {
        memory: Some(Memory {
            limit: limits.memory,
            reservation: limits.memory_reservation,
            swap: limits.memory_swap,
            kernel: limits.kernel_memory,
            kernel_tcp: limits.kernel_memory_tcp,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: limits.cpu_shares,
            quota: limits.cpu_quota,
            burst: limits.cpu_burst,
            period: limits.cpu_period,
            realtime_runtime: limits.cpu_rt_runtime,
            realtime_period: limits.cpu_rt_period,
            cpus: limits.cpuset_cpus.clone(),
            mems: limits.cpuset_mems.clone(),
            idle: limits.cpu_idle,
        }),
        pids: limits.pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: limits.blkio_weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    }
}
