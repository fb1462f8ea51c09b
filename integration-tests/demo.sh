#!/usr/bin/env bash
# Runs a container from a busybox root and shows what it sees.
set -euo pipefail
orlop=$(realpath "$1")
bundle=$(mktemp -d "${TMPDIR:-/tmp}/it-demo.XXXXXX")
trap 'rm -rf "$bundle"' EXIT
mkdir -p "$bundle/rootfs/bin"
cp /bin/busybox "$bundle/rootfs/bin/"
for applet in sh id ps mount cat grep ls hostname echo; do ln -s busybox "$bundle/rootfs/bin/$applet"; done
cd "$bundle"
"$orlop" spec
inside='echo "== pid 1 and its neighbours"; ps
echo "== who"; id; hostname
echo "== namespaces"; ls -l /proc/self/ns
echo "== mounts"; mount
echo "== capabilities"; grep Cap /proc/self/status
echo "== cgroup"; cat /proc/self/cgroup'
jq --arg inside "$inside" '.process.terminal = false | .process.args = ["sh", "-c", $inside]' config.json >edited
mv edited config.json
"$orlop" --root "$bundle/state" run "it-demo-$$"
echo "== exit status $?, and nothing is left: $(ls "$bundle/state" | wc -l) containers"
