#!/usr/bin/env bash
# throughput.sh ANYVISOR [ROUNDS]: whole runs with a task that only computes, four machines one after another and four at once, in
# turns; no machine sees another's job. What N cores are worth here is measured beside it, N up to four: the same four machines by
# hand (by-hand.sh), one at a time and N at a time. Cores that share units, caches or a clock give less than N times one.
source "$(dirname "$0")/common.sh"
trap 'rm -rf "$work"' EXIT
: "${1:?usage: throughput.sh ANYVISOR [ROUNDS]}"
anyvisor=$(realpath -e "$1")
rounds=${2:-6}
folder=$("$anyvisor" image build tiny)
cores=$(($(nproc) < 4 ? $(nproc) : 4))
cat >"$work/compute.sh" <<'SH'
n=0
while [ $n -lt 100000 ]; do n=$((n + 1)); done
SH
cat >"$work/compute.yaml" <<YAML
name: compute
image: tiny
matrix: {job: [one, two, three, four]}
machine: {memory: 256MiB}
tasks:
  - id: compute
    run: |
      echo "\$MATRIX_JOB" >mine
$(sed 's/^/      /' "$work/compute.sh")
      cat mine
YAML
runs() { # JOBS
    rm -rf "$work/out"
    "$anyvisor" run "$work/compute.yaml" --hypervisor qemu --jobs "$1" --report "$work/out" || return 1
    for job in one two three four; do
        [ "$(cat "$work/out/compute-$job"/tasks/*-compute/stdout)" = "$job" ] || { echo "job $job saw something else" >&2; return 1; }
    done
}
by_hand() { # MACHINES-AT-A-TIME
    seq 4 | xargs -P "$1" -I{} "$here/by-hand.sh" "$folder" "$work/compute.sh"
}
# What all cores of the host did meanwhile, in ms of CPU time: proc_stat(5), of which the first line has hundredths of a second.
busy() { awk '/^cpu / {print ($2 + $3 + $4 + $7 + $8) * 10}' /proc/stat; }
for _ in $(seq "$rounds"); do
    timed hand by_hand 1
    timed one runs 1
    timed hands by_hand "$cores"
    before=$(busy)
    timed four runs 4
    echo "$before $(busy) $(tail -n 1 "$work/four.ms")" | awk -v n="$(nproc)" '{print ($2 - $1) / $3 / n}' >>"$work/busy.ms"
done
echo "four jobs that compute, $rounds rounds in turns, medians; $cores of $(nproc) cores"
awk -v one="$(median one)" -v four="$(median four)" -v hand="$(median hand)" -v hands="$(median hands)" -v n="$cores" 'BEGIN {
    ours = one / four; host = hand / hands
    printf "one machine at a time %.1f s, four at once %.1f s: %.2f times one core\n", one / 1000, four / 1000, ours
    printf "by hand, one at a time %.1f s, %d at a time %.1f s: %d cores of this host are worth %.2f times one\n", hand / 1000, n, hands / 1000, n, host
    printf "four at once use %.2f of what %d cores are worth  (goal: at least 0.9), %.2f of %d times one\n", ours / host, n, ours / n, n}'
echo "while four run at once, $(nproc) cores are busy $(median busy | awk '{printf "%.1f", 100 * $1}') % of the time"
for name in one four hand hands; do echo "$name, s:$(awk '{printf " %.1f", $1 / 1000}' "$work/$name.ms")"; done
