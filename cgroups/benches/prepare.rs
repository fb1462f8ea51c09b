//! What the groups of a container with Docker's default limits cost, against the bare system calls for the same.
//!
//! `cargo bench -p cgroups` as root; prints medians, and the ratio that the project promises to keep below 1.2.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails stops")]

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use cgroups::{Driver, Layout, Prepared, Request, Resources};

const ROUNDS: usize = 300;

const V1: &str = r#"{"memory":{"limit":67108864},"pids":{"limit":50},"cpu":{"quota":50000,"period":100000},
    "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"},
    {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":9,"access":"rwm"},
    {"allow":true,"type":"c","major":1,"minor":8,"access":"rwm"},{"allow":true,"type":"c","major":5,"minor":0,"access":"rwm"},
    {"allow":true,"type":"c","major":5,"minor":1,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":229,"access":"rwm"}]}"#;

const OPEN: &str = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;

fn main() {
    let layout = Layout::detect().expect("the mounts");
    // A program has no counterpart among the bare calls, so version 2 is compared without one.
    let text = if layout.is_pure_v2() { OPEN } else { V1 };
    let resources: Resources = serde_json::from_str(text).expect("the resources");
    let path = format!("/it-bench-{}", std::process::id());
    let bare_dirs: Vec<String> = {
        let prepared = ours(&path, &resources, &layout);
        let paths = prepared.record().container_paths();
        remove(&prepared);
        paths.into_iter().map(|(_, path)| path).collect()
    };
    let (mut with, mut without, mut detect) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let found = Layout::detect().unwrap();
        detect.push(start.elapsed());
        let start = Instant::now();
        let prepared = ours(&path, &resources, &found);
        remove(&prepared);
        with.push(start.elapsed());
        let start = Instant::now();
        bare(&bare_dirs);
        without.push(start.elapsed());
    }
    let (with, without) = (median(with), median(without));
    println!("layout {}: detect {:?}", layout.name(), median(detect));
    println!(
        "prepare + remove {with:?}, bare calls {without:?}, ratio {:.2}",
        with.as_secs_f64() / without.as_secs_f64()
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ours(path: &str, resources: &Resources, layout: &Layout) -> Prepared {
    let request = Request {
        id: "it-bench",
        cgroups_path: Some(path),
        resources,
        driver: Driver::Cgroupfs,
        rootless: false,
        owner: None,
        leaf: None,
        properties: &[],
    };
    cgroups::prepare(&request, layout).unwrap()
}

fn remove(prepared: &Prepared) {
    let deadline = Instant::now() + Duration::from_secs(5);
    prepared.record().open().unwrap().remove(deadline).unwrap();
}

/// mkdir, the writes that cannot be spared, the opens that joining needs, rmdir.
fn bare(directories: &[String]) {
    let mut open = Vec::new();
    for directory in directories {
        fs::create_dir(directory).unwrap();
        for (file, values) in writes(directory) {
            let mut file = fs::OpenOptions::new().write(true).open(format!("{directory}/{file}")).unwrap();
            for value in *values {
                file.write_all(value.as_bytes()).unwrap();
            }
        }
        open.push(fs::OpenOptions::new().write(true).open(format!("{directory}/cgroup.procs")).unwrap());
    }
    drop(open);
    for directory in directories {
        fs::remove_dir(directory).unwrap();
    }
}

type Values = &'static [(&'static str, &'static [&'static str])];

fn writes(directory: &str) -> Values {
    match directory.split('/').nth(4) {
        Some("memory") => &[("memory.limit_in_bytes", &["67108864"])],
        Some("pids") => &[("pids.max", &["50"])],
        Some("cpu") => &[("cpu.cfs_period_us", &["100000"]), ("cpu.cfs_quota_us", &["50000"])],
        Some("cpuset") => &[("cpuset.cpus", &["0"]), ("cpuset.mems", &["0"])],
        Some("devices") => &[
            ("devices.deny", &["a"]),
            (
                "devices.allow",
                &[
                    "c *:* m",
                    "b *:* m",
                    "c 1:3 rwm",
                    "c 1:5 rwm",
                    "c 1:7 rwm",
                    "c 1:8 rwm",
                    "c 1:9 rwm",
                    "c 5:0 rwm",
                    "c 5:1 rwm",
                    "c 5:2 rwm",
                    "c 136:* rwm",
                ],
            ),
        ],
        _ => &[],
    }
}
