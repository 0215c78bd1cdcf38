#!/usr/bin/env bash
# throughput.sh ANYVISOR [ROUNDS]: whole runs with a task that only computes, four machines one after another and four at once, in
# turns. On N free cores, four at once come to N cores' worth of one alone, N up to four; no machine sees another's job.
anyvisor=$(realpath "$1") rounds=${2:-3}
source "$(dirname "$0")/common.sh"
trap 'rm -rf "$work"' EXIT
"$anyvisor" image build tiny >/dev/null 2>&1
cores=$(($(nproc) < 4 ? $(nproc) : 4))
cat >"$work/compute.yaml" <<'YAML'
name: compute
image: tiny
matrix: {job: [one, two, three, four]}
machine: {memory: 128MiB}
tasks:
  - id: compute
    run: |
      echo "$MATRIX_JOB" >mine
      n=0
      while [ $n -lt 100000 ]; do n=$((n + 1)); done
      cat mine
YAML
runs() { # JOBS
    rm -rf "$work/out"
    "$anyvisor" run "$work/compute.yaml" --hypervisor qemu --jobs "$1" --report "$work/out" || return 1
    for job in one two three four; do
        [ "$(cat "$work/out/compute-$job"/tasks/*-compute/stdout)" = "$job" ] || { echo "job $job saw something else" >&2; return 1; }
    done
}
for _ in $(seq "$rounds"); do
    timed one runs 1
    timed four runs 4
done
echo "four jobs that compute, $rounds rounds in turns, medians; $cores of $(nproc) cores"
awk -v one="$(median one)" -v four="$(median four)" -v cores="$cores" 'BEGIN {
    printf "one machine at a time %.1f s, four at once %.1f s: %.2f of %d cores'"'"' worth  (goal: at least 0.9)\n",
        one / 1000, four / 1000, one / four / cores, cores}'
