# The verbs of the project. On a fresh Debian 12 machine with Swift: `make demo`, then `make test`.
.DEFAULT_GOAL := build
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

CONFIGURATION ?= release
# One static binary for each program: starts in half the time, and needs no Swift on the machine it runs on.
RELEASE := -c $(CONFIGURATION) -Xswiftc -static-stdlib
BIN = $(shell swift build $(RELEASE) --show-bin-path)
ANYVISOR = $(BIN)/anyvisor
PREFIX ?= /usr/local

.PHONY: help setup build test conformance conformance-full conformance-mutants end-to-end machines matrix warm faults kills fallback full-host torture virtualbox fixtures power-loss lab-kvm lab-virtualbox lab-virtualbox-disks lab-xen fuzz lint fmt demo bench ci blind install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | column -t -s "$$(printf '\t')"

setup: ## install the system packages that are missing (apt)
	@scripts/setup.sh

build: ## build everything, optimised
	swift build $(RELEASE) --product anyvisor
	for plugin in direct vdfuse libguestfs libvirt vboxmanage memory; do swift build $(RELEASE) --product anyvisor-$$plugin; done

demo: setup build ## the main job: test a PyPI distribution in a clean machine
	$(ANYVISOR) run examples/demo.yaml

# Each target in a process of its own: libvirt's embedded driver and the adoption of orphans belong to a whole process.
TESTS := Abstractions Host Filters PluginKit VirtualDisk Direct VDFuse GuestFS Libvirt VBoxManage Runner AnyvisorKit Statistics Comparison Command Conformance

test: setup ## unit tests and the inline half of the conformance suite
	swift build --build-tests
	for target in $(TESTS); do echo "== $${target}Tests"; swift test --skip-build --filter "^$${target}Tests\\."; done

# libguestfs is slow: the cases that write most, over layers, each of which has all of its format.
conformance: setup build ## one suite over every backend, each in its own process
	$(ANYVISOR) conformance --cells memory,test,qemu,kvm,vboxmanage,direct,vdfuse,example-python --required conformance/required.txt
	$(ANYVISOR) conformance --cells libguestfs --filter e2fsck --formats raw,vdi-layer,vhd-layer,qcow2-layer,vmdk-layer --required conformance/required-slow.txt

conformance-full: setup build ## every case over every kind of image, in processes and inline: hours, mostly libguestfs
	$(ANYVISOR) conformance --full --cells memory,test,qemu,kvm,vboxmanage,direct,vdfuse,example-python --required conformance/required.txt
	swift build --build-tests
	ANYVISOR_CONFORMANCE=full swift test --skip-build --filter '^ConformanceTests\.'
	$(ANYVISOR) conformance --full --cells libguestfs --required conformance/required-slow.txt

conformance-mutants: setup build ## switch on each fault of the memory backend: every one must be caught
	$(ANYVISOR) conformance --mutants

end-to-end: setup build ## every promise of a run, on real machines
	scripts/end-to-end.sh "$(ANYVISOR)"

machines: setup build ## machines and snapshots of one's own, and what goes wrong with them: KILLS=, HYPERVISOR=
	scripts/machines.sh "$(ANYVISOR)"

warm: setup build ## jobs on machines that are taken back to the moment in which they had booted: HYPERVISOR=
	scripts/warm.sh "$(ANYVISOR)"

faults: setup build ## what goes wrong with a libvirt daemon while a run uses it
	scripts/faults.sh "$(ANYVISOR)"

matrix: setup build ## many runs in one command, interrupted and killed too: KILLS=, HYPERVISOR=
	scripts/matrix.sh "$(ANYVISOR)"

kills: setup build ## kill -9 of each process of a run at journal records and random moments: STEP=, KILLS=, SEED=
	STEP="$${STEP:-1}" KILLS="$${KILLS:-50}" scripts/kills.sh "$(ANYVISOR)"

fallback: setup build ## break each disk backend in the middle of an upload and a download
	scripts/fallback.sh "$(ANYVISOR)" "$${MIB:-256}"

full-host: setup build ## fill the host in the middle of an upload, 4 MiB later each time: MIB=, DISKS=, FORMATS=
	scripts/full-host.sh "$(ANYVISOR)" "$${MIB:-64}"

fixtures: setup build ## read the images that VirtualBox wrote by export, mount and each backend: DISKS=
	scripts/fixtures.sh "$(ANYVISOR)"

torture: setup build ## SIGKILL uploads at random moments: SEED=, COUNT=, DISKS=, FORMATS=, MIB=
	scripts/torture.sh "$(ANYVISOR)" "$${SEED:-$$RANDOM}" "$${COUNT:-50}"

power-loss: setup build ## cut the power at random moments of uploads: SEED=, COUNT=, DISKS=, FORMATS=, MIB=
	MIB="$${MIB:-16}" scripts/power-loss.sh "$(ANYVISOR)" "$${SEED:-$$RANDOM}" "$${COUNT:-40}"

virtualbox: setup build ## compare with a real VirtualBox, and run its machines on our images: VBOXMANAGE=, PARTS=
	scripts/virtualbox.sh "$(ANYVISOR)"

lab-kvm: setup build ## prove `kvm` in a nested host that has it, and write docs/lab/kvm.md
	lab/report.sh kvm "$(ANYVISOR)"

lab-xen: setup build ## prove `xen` in a nested host that runs Xen, and write docs/lab/xen.md
	lab/report.sh xen "$(ANYVISOR)"

lab-virtualbox: setup build ## prove `vboxmanage` in a Debian sid root with VirtualBox, and write docs/lab/virtualbox.md
	lab/report.sh virtualbox "$(ANYVISOR)"

lab-virtualbox-disks: setup build ## compare images with the VirtualBox of the lab, and run its machines on them: PARTS=
	lab/virtualbox/disks.sh "$(ANYVISOR)"

fuzz: setup ## libFuzzer over hostile images: RUNS= inputs for our parsers, a fiftieth of it for ext metadata
	scripts/fuzz.sh "$${RUNS:-10000000}"

compare: setup build ## a real comparison, killed and gone on with: KILLS=
	scripts/compare.sh "$(ANYVISOR)" $(KILLS)

stats-proof: setup ## how often compare's statistics are wrong, in 2,000 simulated comparisons a row: SEED=
	swift build $(RELEASE) --product stats-proof
	$(BIN)/stats-proof $(SEED)

report-check: ## open reports of compare in a headless browser, on a wide screen and a phone: REPORTS=
	scripts/setup.sh chromium
	scripts/report-check.py chromium $(or $(REPORTS),$(wildcard docs/reports/*))

blind: ## build the Runner without any backend's source
	scripts/blind.sh

lint: ## format and structure rules
	swift format lint --strict --recursive --parallel Sources Tests Fuzz plugins Package.swift
	scripts/lint.sh

fmt: ## format all sources in place
	swift format --in-place --recursive --parallel Sources Tests Fuzz plugins Package.swift

bench: setup build ## measure in turns against the thing to beat
	for what in disk chain memory fuse cold-run warm throughput compare; do Benchmarks/$$what.sh "$(ANYVISOR)"; done

ci: ## what .ci/run calls
	scripts/ci.sh

install: build ## install below PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/anyvisor
	install $(ANYVISOR) $(BIN)/anyvisor-{direct,vdfuse,libguestfs,libvirt,vboxmanage,memory} $(DESTDIR)$(PREFIX)/bin
	cp -r plugins guest $(DESTDIR)$(PREFIX)/lib/anyvisor
	git rev-parse HEAD >$(DESTDIR)$(PREFIX)/lib/anyvisor/COMMIT || true

clean: ## remove what was built
	rm -rf .build
