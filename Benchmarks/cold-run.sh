#!/usr/bin/env bash
# cold-run.sh ANYVISOR [PAIRS]: a one-task recipe on `tiny`, in turns with the same job by hand (by-hand.sh).
set -euo pipefail
anyvisor=$1 pairs=${2:-${COLD_PAIRS:-11}}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$("$anyvisor" image build tiny)
median() { sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
for pair in $(seq "$pairs"); do
    start=$(date +%s%N)
    "$anyvisor" run "$here/../examples/hello-tiny.yaml" --hypervisor qemu --report "$work/report$pair" >/dev/null 2>"$work/err" ||
        { tail -n 3 "$work/err" >&2; exit 1; }
    echo $((($(date +%s%N) - start) / 1000000)) >>"$work/ours"
    start=$(date +%s%N)
    "$here/by-hand.sh" "$folder" >/dev/null 2>&1
    echo $((($(date +%s%N) - start) / 1000000)) >>"$work/hand"
done
paste "$work/ours" "$work/hand" | awk '{print $1/$2}' >"$work/ratio"
echo "cold run on tiny, $pairs pairs in turns: $(median <"$work/ours") ms : by hand $(median <"$work/hand") ms, ratio $(median <"$work/ratio") (goal: at most 1.25)"
