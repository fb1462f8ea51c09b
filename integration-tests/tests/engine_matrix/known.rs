//! What fails with runc as well, and why.
//!
//! A failure that runc shares and that has no line here fails the run: it may be the test that is wrong.

use crate::engine::Kind;

/// The engines, the feature, and the reason.
const KNOWN: &[(&[Kind], &str, &str)] = &[
    (
        &[Kind::Podman],
        "killed for lack of memory, and said",
        "conmon, which tells Podman, does not learn of it on cgroup v1 here; the exit code is 137",
    ),
    (
        &[Kind::Docker, Kind::DockerShim],
        "block device throttle",
        "dockerd 26 drops the limit on cgroup v1 before it asks a runtime: it is not in `docker inspect` either",
    ),
    (
        &[Kind::PodmanRootless],
        "systemd as the first process",
        "systemd may not make groups on cgroup v1 as an ordinary user",
    ),
];

/// The reason why a feature works with neither runtime.
pub(crate) fn reason(kind: Kind, feature: &str) -> Option<&'static str> {
    let entry = KNOWN.iter().find(|(kinds, own, _)| *own == feature && kinds.contains(&kind));
    entry.map(|(_, _, reason)| *reason)
}
