#!/usr/bin/env bash
# Installs what demo, tests and benches run beside orlop, where it is missing and this is root on a Debian machine:
# packages.sh [PACKAGE...], the list below when none is named.
set -euo pipefail

packages=(busybox-static crun runc containerd docker.io podman buildah catatonit netavark aardvark-dns slirp4netns
  docker-registry iptables iproute2 uidmap tmux strace
  libseccomp-dev pkg-config gcc jq criu)
[ $# -eq 0 ] || packages=("$@")
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed: ${missing[*]}; run this as root on Debian, or install them yourself" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A daemon that a package starts would be one more engine on this machine; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
