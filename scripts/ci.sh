#!/usr/bin/env bash
# Everything a submission must pass, in the order in which a failure is cheapest to find.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
step() { printf '\n== %s (%s s so far)\n' "$*" $((SECONDS - started)); }

step "system packages"
make --no-print-directory setup
step "lint"
make --no-print-directory lint
step "the Runner is blind"
make --no-print-directory blind
step "build"
make --no-print-directory build
step "unit tests and inline conformance"
make --no-print-directory test
step "the main job"
make --no-print-directory demo
step "conformance of every plugin"
make --no-print-directory conformance
step "mutants"
make --no-print-directory conformance-mutants
step "end to end"
make --no-print-directory end-to-end
step "machines and snapshots"
make --no-print-directory machines KILLS=4
step "machines that start warm"
make --no-print-directory warm
step "faults of a libvirt daemon"
make --no-print-directory faults
step "many runs in one command"
make --no-print-directory matrix KILLS=1
step "a comparison"
make --no-print-directory compare KILLS=2
step "kill -9 of every process of a run, short"
make --no-print-directory kills STEP=4 KILLS=6
step "fallback"
make --no-print-directory fallback
step "images that VirtualBox wrote"
make --no-print-directory fixtures DISKS="direct vdfuse"
step "a full host, short"
make --no-print-directory full-host MIB=12 DISKS="direct vdfuse"
step "torture, short"
make --no-print-directory torture COUNT=12
step "power loss, short"
make --no-print-directory power-loss COUNT=6
step "done"
