# make demo    a container, from nothing
# make test    every test that this machine can run
# make bench   figures beside crun and runc
# make help    all targets

SHELL := /bin/bash
COMMA := ,
.SHELLFLAGS := -eu -o pipefail -c
PREFIX ?= /usr/local
DIST := target/dist

ARCH := $(shell uname -m)
# The static musl target, added where rustup can; else the host's own libc, linked statically.
MUSL := $(ARCH)-unknown-linux-musl
TARGET ?= $(shell rustup target list --installed 2>/dev/null | grep -qx $(MUSL) || rustup target add $(MUSL) >/dev/null 2>&1; \
	rustup target list --installed 2>/dev/null | grep -qx $(MUSL) && echo $(MUSL) || echo $(ARCH)-unknown-linux-gnu)
# A panic aborts, so nothing ever unwinds and the tables would only be read from the disk. Those of the standard library
# are left out by the linker. Relative relocations in their packed form take a fiftieth of the file.
FLAGS := -C force-unwind-tables=no
ifneq (,$(findstring gnu,$(TARGET)))
FLAGS += -C target-feature=+crt-static
else
FLAGS += $(addprefix -C link-arg=-Wl$(COMMA),--no-eh-frame-hdr -T$(COMMA)$(CURDIR)/no-unwind-tables.ld -z$(COMMA)pack-relative-relocs)
endif
RELEASE := target/$(TARGET)/release

.PHONY: help build install demo test test-all test-unit test-root test-rootless test-engines test-vm vm-shell vm-packages bench check packages clean

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo "make build        the programs, in $(DIST)"
	@echo "make install      them with man pages and completions, below PREFIX ($(PREFIX))"
	@echo "make check        formatting, lints and a second architecture"
	@echo "make test-all     test, test-vm and test-engines; how long each took, and one count"
	@echo "make test-conformance  each sentence of runtime-spec, and that the suite can fail"
	@echo "make test-engines every feature under Docker, containerd, Podman and Buildah, with runc beside it, as a table"
	@echo "make test-vm      the tests in virtual machines with systemd, all controllers and all capabilities"
	@echo "make vm-shell     a shell in one of them"

build:
	RUSTFLAGS="$(FLAGS)" cargo build --release --target $(TARGET) -p orlop -p containerd-shim-orlop-v2 -p oci-conformance
	mkdir -p $(DIST)
	for program in orlop containerd-shim-orlop-v2 oci-conformance; do \
	  install -m 0755 $(RELEASE)/$$program $(DIST)/; done

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 0755 $(DIST)/* $(DESTDIR)$(PREFIX)/bin/
	cargo xtask man $(DESTDIR)$(PREFIX)/share/man/man8
	cargo xtask completions $(DESTDIR)$(PREFIX)/share

demo: packages build
	integration-tests/demo.sh $(DIST)/orlop

# What the tests run beside orlop; apt-get does nothing where all is there.
packages:
	integration-tests/packages.sh

test: packages build
	TARGET=$(TARGET) integration-tests/run.sh all

# An hour and more, most of it in machines under emulation.
test-all:
	integration-tests/all.sh test test-vm test-engines

test-unit test-root test-rootless test-conformance test-engines: packages build
	TARGET=$(TARGET) integration-tests/run.sh $(@:test-%=%)

# In virtual machines: VM="trixie bookworm" (these two, when nothing is said; hybrid v1 selinux numa are there too),
# TOPICS="limits lifecycle".
test-vm: vm-packages
	TARGET=$(TARGET) TOPICS="$(TOPICS)" integration-tests/vm/run.sh test $(VM)

vm-shell: vm-packages
	TARGET=$(TARGET) integration-tests/vm/run.sh shell $(VM)

vm-packages: packages
	integration-tests/packages.sh qemu-system-x86 mmdebstrap e2fsprogs

bench: packages build
	RUSTFLAGS="$(FLAGS)" cargo build --release --target $(TARGET) -p integration-tests --bins
	mkdir -p bench-results
	cargo bench -q -p seccomp --bench compile -- --out $(abspath bench-results)/seccomp.json
	ORLOP=$(abspath $(DIST))/orlop $(RELEASE)/bench --out bench-results
	cargo bench --quiet -p cgroups --bench prepare | tee bench-results/cgroups.txt
	SHIM=$(abspath $(DIST))/containerd-shim-orlop-v2 $(RELEASE)/layout v1 -- \
	  cargo bench -q -p containerd-shim-orlop-v2 --bench shim -- --out $(abspath bench-results)

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	rustup target add aarch64-unknown-linux-musl
	cargo check --workspace --target aarch64-unknown-linux-musl

clean:
	cargo clean
