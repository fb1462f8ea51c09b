#!/usr/bin/env bash
# Runs the tests and counts them: run.sh all|unit|root|rootless|conformance|engines
#
# The unit tests run once. The tests on a real kernel run as root in three layouts of cgroups: as the host has them,
# plain v1 and pure v2, the last two in mount namespaces of their own.
set -uo pipefail
cd "$(dirname "$0")/.."

part=${1:-all}
TARGET=${TARGET:-x86_64-unknown-linux-musl}
export ORLOP=${ORLOP:-$PWD/target/dist/orlop}
logs=target/test-logs
mkdir -p $logs
rm -f $logs/*.log $logs/*.log.first
failed=()
unsteady=()

# Runs a command, shows its output and keeps it. What fails is run once more: the tests time real processes on a machine
# that others may load. What passes only then is named at the end, since it is a test, or a program, to mend.
step() {
  local name=$1 log=$logs/$1.log
  shift
  echo "== $name"
  attempt "$log" "$@" && return
  mv "$log" "$log.first"
  echo "== $name, once more"
  if attempt "$log" "$@"; then unsteady+=("$name"); else failed+=("$name"); fi
}

attempt() {
  local log=$1 status=0
  shift
  "$@" >"$log" 2>&1 || status=$?
  grep -Ev '^test .* ok$|^running|^$|^ok |^TAP |^1\.\.' "$log" || true
  return $status
}

unit() {
  step unit cargo test --quiet --workspace --exclude integration-tests --exclude cgroups --no-fail-fast
  step unit-cgroups cargo test --quiet -p cgroups --lib
  step style cargo test --quiet -p integration-tests --test style
}

# The paths of the test programs of a package, built for the static target.
programs() {
  cargo test --quiet --no-run --target "$TARGET" -p "$1" --message-format=json |
    jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null) | .executable'
}

layout() { "target/$TARGET/debug/layout" "$@"; }

root() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "== root: skipped, because this is uid $(id -u)"
    return
  fi
  cargo build --quiet --target "$TARGET" -p integration-tests --bins || failed+=(build)
  local tests kernel
  tests=$(programs integration-tests | grep -Ev '/(style|engine_matrix|cri)-') || failed+=(build)
  tests+=" $(programs containerd-shim-orlop-v2 | grep '/task-')" || failed+=(build)
  kernel=$(programs cgroups | grep '/kernel-') || failed+=(build)
  # These make the layouts themselves.
  for program in $kernel; do
    step cgroups-kernel "$program"
  done
  for name in hybrid v1 v2; do
    for program in $tests; do
      local topic=${program##*/}
      step "$name-${topic%-*}" layout $name -- "$program"
    done
  done
}

# Every sentence of the specification in each layout, and a part of the proof that the suite can fail.
conformance() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "== conformance: skipped, because this is uid $(id -u)"
    return
  fi
  cargo build --quiet --target "$TARGET" -p integration-tests --bin layout || failed+=(build)
  local suite=${CONFORMANCE:-target/dist/oci-conformance}
  for name in hybrid v1 v2; do
    step "$name-conformance" layout $name -- "$suite" --runtime "$ORLOP"
  done
  step conformance-self-test "$suite" self-test --runtime "$ORLOP" --only "$1"
}

rootless() {
  cargo build --quiet --target "$TARGET" -p integration-tests --bins || failed+=(build)
  for program in $(programs integration-tests | grep '/rootless-'); do
    step rootless "$program"
  done
}

# Every feature of the matrix, each with runc as well; `all` tries those of every run.
engines() {
  ENGINE_TABLE=$PWD/target/engine-matrix.md engines_with --include-ignored
}

engines_with() {
  cargo build --quiet --target "$TARGET" -p integration-tests --bins || failed+=(build)
  local topic
  for program in $(programs integration-tests | grep '/cri-'); do
    topic=${program##*/}
    step "${topic%-*}" "$program" --test-threads 1
  done
  for program in $(programs integration-tests | grep '/engine_matrix-'); do
    step engine-matrix "$program" "$@"
  done
}

case $part in
  all)
    unit
    root
    conformance 'runtime*'
    engines_with
    ;;
  conformance) conformance '*' ;;
  unit | root | rootless | engines) $part ;;
  *)
    echo "usage: run.sh all|unit|root|rootless|conformance|engines" >&2
    exit 2
    ;;
esac

# What the tests left, with the processes that hold it; what is being removed gets a moment.
leftovers() {
  local group
  for _ in $(seq 50); do
    [ -n "$(find /sys/fs/cgroup -mindepth 1 -maxdepth 4 -type d -name 'it-*' 2>/dev/null)" ] || return
    sleep 0.2
  done
  find /sys/fs/cgroup -mindepth 1 -type d -path '*/it-*' 2>/dev/null | while read -r group; do
    echo "$group: $(xargs -r ps -o pid=,args= -p <"$group/cgroup.procs" 2>/dev/null)"
  done
}
left=$(leftovers)
if [ -n "$left" ]; then
  echo "left behind: $left"
  failed+=(leftovers)
fi
[ ${#unsteady[@]} -eq 0 ] || echo "failed at first and passed when run again: ${unsteady[*]}"
[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}" >&2
# The rows of the conformance suite are lines of TAP: one with "# TODO" is a SHOULD that is not kept, which is no failure.
cat $logs/*.log 2>/dev/null | awk '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  /^ok .*# SKIP|^not ok .*# TODO/ { ignored++; next }
  /^ok / { passed++ }
  /^not ok / { failed++ }
  END { printf "%d tests: %d passed, %d failed, %d skipped\n", passed + failed + ignored, passed, failed, ignored }'
[ ${#failed[@]} -eq 0 ]
