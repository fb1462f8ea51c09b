#!/usr/bin/env bash
# Runs the tests in virtual machines and counts them: run.sh test|shell [MACHINE...]
#
# A machine is an image and a way to boot it; without a name, those of `default`. TOPICS="limits lifecycle" runs only
# the steps whose name contains one of the words. Results and logs come back in target/vm/MACHINE.
# The processor is emulated, which works everywhere and boots in a minute; ORLOP_VM_ACCEL=kvm uses the host's.
set -uo pipefail
cd "$(dirname "$0")/../.."

TARGET=${TARGET:-x86_64-unknown-linux-musl}
TOPICS=${TOPICS:-}
default=(trixie bookworm)
built=${CARGO_TARGET_DIR:-target}/$TARGET/debug
out=${CARGO_TARGET_DIR:-target}/vm
here=integration-tests/vm
# A folder with the built programs of opencontainers/runtime-tools, which then run inside as well, under three runtimes.
suite=${RUNTIME_TOOLS:-}
# Words that QEMU gets beside ours: ORLOP_VM_QEMU="-nic user".
# The whole job of one machine in seconds, and how long a boot may take until it says that it is up.
limit=${ORLOP_VM_LIMIT:-2700}
boot_limit=300

# The image of a machine ($image is its name, $images where it is), the kernel's command line and what QEMU gets beside
# the usual.
machine() {
  append="console=hvc0 quiet panic=-1 root=/dev/vda module_blacklist=scsi_mod,libata,psmouse,pcspkr,aesni_intel"
  hardware=(-m 4096 -smp 2)
  case $1 in
    trixie) image=trixie append+=" systemd.show_status=0" ;;
    # Kernel 6.1, with our script in place of systemd.
    bookworm) image=bookworm append+=" orlop.init=/job/guest" ;;
    hybrid) image=bookworm append+=" systemd.show_status=0 systemd.unified_cgroup_hierarchy=0" ;;
    v1) image=bookworm append+=" systemd.show_status=0 systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1" ;;
    selinux) image=selinux append+=" systemd.show_status=0 security=selinux selinux=1 enforcing=0" ;;
    numa)
      image=trixie append+=" systemd.show_status=0"
      hardware=(-m 4096 -smp 4
        -object memory-backend-ram,id=m0,size=2G -object memory-backend-ram,id=m1,size=2G
        -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1)
      ;;
    *) echo "no machine is called $1: trixie bookworm hybrid v1 selinux numa" >&2 && return 2 ;;
  esac
  images=$($here/image.sh "$image")
}

programs() {
  cargo test --quiet --no-run --target "$TARGET" "$@" --message-format=json |
    jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null) | .executable'
}

# The programs of all jobs: built once, in $out/files.
build() {
  local path topic
  cargo build --quiet --target "$TARGET" -p orlop -p containerd-shim-orlop-v2 -p oci-conformance || return
  cargo build --quiet --target "$TARGET" -p integration-tests --bins || return
  rm -rf "$out/files"
  mkdir -p "$out/files/bin" "$out/files/tests"
  cp "$built"/{orlop,containerd-shim-orlop-v2,oci-conformance} "$out/files/bin/"
  cp "$built"/{probe,layout,floor} "$out/files/tests/"
  for path in $(programs -p integration-tests && programs -p cgroups --test kernel &&
    programs -p containerd-shim-orlop-v2 --test task --test containerd); do
    topic=${path##*/}
    cp "$path" "$out/files/tests/${topic%-*}"
  done
  rm -f "$out/files/tests/style"
  strip --strip-debug "$out/files"/*/* 2>/dev/null
  cp $here/guest/guest "$out/files/"
  [ -z "$suite" ] || copy_suite
}

copy_suite() {
  local to
  mkdir "$out/files/suite"
  to=$(realpath "$out/files/suite")
  (cd "$suite" && cp --parents rootfs-*.tar.gz runtimetest validation/*/*.t "$to")
}

# The steps of a machine: name, seconds, command.
steps() {
  local path topic
  {
    case $1 in
      trixie | numa) printf '%s\n' "cgroups-v2 300 ./kernel v2::" "cgroups-systemd 300 ./kernel systemd::" ;;
      bookworm | selinux) echo "cgroups-v2 300 ./kernel v2::" ;;
      hybrid | v1) echo "cgroups-host 300 ./kernel host::" ;;
    esac
    for path in "$out/files/tests"/*; do
      topic=${path##*/}
      case $topic in
        probe | layout | floor | kernel) ;;
        # Emulated it takes long, so it is run when it is asked for: TOPICS=engine_matrix.
        engine_matrix) [ -z "$TOPICS" ] || echo "engine_matrix 2400 ./engine_matrix" ;;
        # A thousand processes take ten minutes under emulation, and prove nothing that they do not prove elsewhere.
        exec) echo "exec 600 ./exec --skip a_thousand_execs" ;;
        groups) echo "groups 600 ORLOP_CONTAINERS=20 ./groups" ;;
        task) echo "shim-task 900 IT_SHIM_EXECS=30 IT_SHIM_CONTAINERS=10 ./task" ;;
        containerd) echo "shim-containerd 1200 ./containerd --test-threads 1" ;;
        *) echo "$topic 600 ./$topic" ;;
      esac
    done
    # systemd's /tmp is mounted nodev, and a row opens a device of the bundle.
    echo "conformance 1800 TMPDIR=/var/tmp oci-conformance --runtime /job/bin/orlop"
    for path in ${suite:+/job/bin/orlop /usr/bin/crun /usr/sbin/runc}; do
      echo "upstream-${path##*/} 1200 oci-conformance upstream --suite /job/suite --runtime $path"
    done
  } | selected
}

selected() {
  if [ -z "$TOPICS" ]; then cat; else grep -E "^[^ ]*(${TOPICS// /|})" || true; fi
}

# The second disk: programs, steps and room for results.
job_disk() {
  local name=$1 dir=$out/$1
  rm -rf "$dir"
  mkdir -p "$dir"
  steps "$name" >"$out/files/steps"
  rm -f "$dir/job.img"
  truncate -s 1G "$dir/job.img"
  mkfs.ext4 -q -O ^has_journal -E root_owner=0:0 -d "$out/files" "$dir/job.img"
}

# Boots a machine whose job disk is there; $1 is its name, $2 more of the command line, the rest goes to QEMU.
boot() {
  local name=$1 more=$2
  shift 2
  # QEMU 7.2 can lose the flags of CMPXCHG16B, which kills the kernel's allocator; without it the kernel takes locks.
  qemu-system-x86_64 -nodefaults -no-reboot -display none -accel "${ORLOP_VM_ACCEL:-tcg,thread=multi}" -cpu max,-cx16 \
    "${hardware[@]}" -kernel "$images/vmlinuz" -initrd "$images/initramfs" -append "$append$more" \
    -drive "file=$images/root.img,if=virtio,format=raw,snapshot=on" \
    -drive "file=$out/$name/job.img,if=virtio,format=raw,cache=unsafe" \
    ${ORLOP_VM_QEMU:-} -device virtio-rng-pci -device virtio-serial-pci -device virtconsole,chardev=console "$@"
}

# Runs the job and shows how it goes on; ends with failure where the machine did not come up.
attempt() {
  local name=$1 console=$out/$1/console.txt pid begin=$SECONDS
  : >"$console"
  boot "$name" "" -chardev "file,id=console,path=$console" >"$out/$name/qemu.txt" 2>&1 &
  pid=$!
  tail --pid=$pid -n +1 -F "$console" 2>/dev/null | grep --line-buffered '^orlop-vm:' &
  while kill -0 $pid 2>/dev/null; do
    sleep 1
    if [ $((SECONDS - begin)) -gt $boot_limit ] && ! grep -q 'orlop-vm: up' "$console"; then break; fi
    if [ $((SECONDS - begin)) -gt "$limit" ]; then
      echo "$name: stopped after $limit s"
      break
    fi
  done
  pkill -P $pid 2>/dev/null
  kill $pid 2>/dev/null
  wait
  grep -q 'orlop-vm: up' "$console"
}

# Brings the results back and counts them.
results() {
  local name=$1 dir=$out/$1 file
  debugfs -R "rdump /results $dir" "$dir/job.img" >/dev/null 2>&1
  for file in "$dir"/results/*.log; do
    [ -e "$file" ] || continue
    local step=${file##*/} status
    step=${step%.log}
    status=$(cat "$dir/results/$step.status" 2>/dev/null || echo "no end")
    grep -Ev '^test .* ok$|^running|^$|^ok |^TAP |^1\.\.' "$file" | sed "s/^/[$name $step] /"
    [ "$status" = 0 ] || failed+=("$name/$step")
  done
  grep -q 'orlop-vm: done' "$dir/console.txt" || failed+=("$name: the machine did not end its job")
}

run_machine() {
  local name=$1
  echo "== $name"
  machine "$name" && job_disk "$name" || { failed+=("$name") && return; }
  if ! attempt "$name"; then
    echo "$name: not up; tried once more"
    cp "$out/$name/console.txt" "$out/$name/console-first.txt"
    if ! attempt "$name"; then
      tail -n 20 "$out/$name/console.txt" "$out/$name/qemu.txt"
    fi
  fi
  results "$name"
}

shell() {
  local name=$1
  machine "$name" && job_disk "$name" || return
  echo "$name boots; this takes a minute. Leave with exit, or kill it with Ctrl-a x."
  boot "$name" " orlop.shell" -chardev "stdio,id=console,mux=on,signal=off"
}

what=${1:-test}
shift || true
[ $# -gt 0 ] || set -- "${default[@]}"
failed=()
mkdir -p "$out"
build || { echo "the programs for the job cannot be built" >&2 && exit 1; }
if [ "$what" = shell ]; then
  shell "$1"
  exit
fi
for name in "$@"; do run_machine "$name"; done
for name in "$@"; do cat "$out/$name"/results/*.log 2>/dev/null; done | awk '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  /^ok .*# SKIP|^not ok .*# TODO/ { ignored++; next }
  /^ok / { passed++ }
  /^not ok / { failed++ }
  END { printf "%d tests: %d passed, %d failed, %d skipped\n", passed + failed + ignored, passed, failed, ignored }'
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  echo "a shell in that machine: make vm-shell VM=${failed[0]%%[/:]*}; its logs: $out/${failed[0]%%[/:]*}" >&2
  exit 1
fi
