#!/usr/bin/env bash
# Makes the disk, kernel and initramfs of a VM and prints the directory they are in: image.sh trixie|bookworm|selinux
#
# They are kept in $ORLOP_VM_CACHE, else in the user's cache directory, and made anew when this file or one that goes
# into them changes. Root only, because the files of a disk belong to many users.
set -euo pipefail
cd "$(dirname "$0")"

name=$1
cache=${ORLOP_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orlop-vm}
recipe=$(cat image.sh guest/init guest/orlop-job.service | sha256sum | cut -c1-12)
image=$cache/$name-$recipe

base=(linux-image-cloud-amd64 systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod login util-linux
  procps less apparmor busybox-static iproute2 iptables uidmap strace jq python3-minimal ca-certificates)
engines=(crun runc containerd docker.io docker-registry podman buildah catatonit fuse-overlayfs slirp4netns)
case $name in
  trixie) suite=trixie packages=("${base[@]}" "${engines[@]}" docker-cli netavark aardvark-dns passt criu) ;;
  selinux) suite=trixie packages=("${base[@]}" selinux-basics selinux-policy-default) ;;
  # A kernel of the 6.1 series, and the last systemd that boots with version 1 hierarchies.
  bookworm) suite=bookworm packages=("${base[@]}" "${engines[@]}") ;;
  *) echo "no image is called $name" >&2 && exit 2 ;;
esac

# What the tests start by themselves, and what only costs boot time under emulation.
masked=(docker.service docker.socket containerd.service podman.service podman.socket podman-auto-update.timer
  podman-restart.service podman-clean-transient.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service systemd-networkd.service
  systemd-pstore.service getty@tty1.service serial-getty@hvc0.service serial-getty@ttyS0.service
  buildah.service systemd-random-seed.service ldconfig.service systemd-journal-catalog-update.service
  selinux-autorelabel-mark.service)

root() {
  local include
  include=$(IFS=, && echo "${packages[*]}")
  mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$1"
  install -m 0644 guest/orlop-job.service "$1/etc/systemd/system/"
  ln -s ../orlop-job.service "$1/etc/systemd/system/multi-user.target.wants/"
  local unit
  for unit in "${masked[@]}"; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done
  mkdir "$1/job"
  echo orlop-vm >"$1/etc/hostname"
  printf '127.0.0.1 localhost orlop-vm\n' >"$1/etc/hosts"
  # A user who may have containers of his own, with a systemd of his own that is there without a session.
  chroot "$1" useradd --create-home --shell /bin/bash walter
  mkdir -p "$1/var/lib/systemd/linger"
  touch "$1/var/lib/systemd/linger/walter"
  chroot "$1" passwd --quiet --delete root
}

# Contexts are written into the disk, so that the first boot has labels without relabelling for minutes.
label() {
  [ -d "$1/etc/selinux/default" ] || return 0
  sed -i 's/^SELINUX=.*/SELINUX=permissive/' "$1/etc/selinux/config"
  chroot "$1" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
}

# busybox, our /init and the modules that a root on a virtio disk needs; what is built into the kernel is no module.
initramfs() {
  local root=$1 out=$2 kernel work module path
  kernel=$(ls "$root/lib/modules")
  work=$(mktemp -d)
  mkdir -p "$work"/{bin,dev,lib,proc,root,sys}
  cp "$root/bin/busybox" "$work/bin/"
  install -m 0755 guest/init "$work/init"
  for module in virtio_pci virtio_blk virtio_console ext4; do
    chroot "$root" modprobe --set-version "$kernel" --show-depends "$module" 2>/dev/null
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
    cp "$root$path" "$work/lib/"
    path=$work/lib/${path##*/}
    case $path in *.xz) unxz "$path" && path=${path%.xz} ;; esac
    echo "/lib/${path##*/}" >>"$work/modules"
  done
  (cd "$work" && find . | bin/busybox cpio -o -H newc 2>/dev/null >"$out")
  rm -rf "$work"
}

build() {
  work=$(mktemp -d "$cache/making.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  root "$work/root"
  cp "$work/root"/boot/vmlinuz-* "$work/vmlinuz"
  initramfs "$work/root" "$work/initramfs"
  rm -rf "$work/root/boot" "$work/root/initrd.img" "$work/root/vmlinuz"
  label "$work/root"
  truncate -s 6G "$work/root.img"
  mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 -d "$work/root" "$work/root.img"
  rm -rf "$work/root"
  rm -rf "$cache/$name"-*
  chmod 0755 "$work"
  mv "$work" "$image"
  trap - EXIT
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -d "$image" ]; then
  echo "making the $name image in $image" >&2
  build >&2
fi
echo "$image"
