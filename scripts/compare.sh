#!/usr/bin/env bash
# compare.sh ANYVISOR [KILLS]: a real comparison of two disk backends on qemu, killed with -9 so many times in the middle and gone on
# with; a seeded difference; what is refused. Ends with 0 when all of it is as it must be.
set -euo pipefail
anyvisor=$(realpath "$1") kills=${2:-3}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
export ANYVISOR_STATE=$work/state
trap 'rm -rf "$work"' EXIT
good=0
check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        good=$((good + 1)) && echo "compare: $what: ok"
    else
        echo "compare: $what: FAILED" >&2
        cat "$work/said" >&2
        tail -n 20 "$work/out" >&2
        exit 1
    fi
}
samples() { # each sample's block, place and cell
    python3 -c '
import json, sys
for line in open(sys.argv[1]):
    sample = line.endswith("\n") and json.loads(line).get("sample")
    if sample: print(sample["block"], sample["place"], sample["cell"], sample["isGood"])' "$1/raw.jsonl"
}
whole() { # every cell of every block once, each good
    [ "$(samples "$1" | wc -l)" = "$2" ] && [ "$(samples "$1" | cut -d' ' -f1,2 | sort -u | wc -l)" = "$2" ] &&
        ! samples "$1" | grep -v True
}
refused() { # STATUS WORDS COMMAND...
    local wanted=$1 words=$2 status=0
    shift 2
    "$@" >"$work/refusal" 2>&1 || status=$?
    cat "$work/refusal"
    [ "$status" = "$wanted" ] && [ "$(wc -l <"$work/refusal")" = 1 ] && grep -qF -- "$words" "$work/refusal"
}
nothing_left() {
    "$anyvisor" reap
    [ -z "$(ls "$ANYVISOR_STATE/runs" 2>/dev/null)" ] && ! pgrep -f "$work/state" && ! ls -d "$work"/killed/.[!.]* "$work"/killed/runs/.[!.]* 2>/dev/null
}

# Blocks enough that every kill lands in the middle.
"$anyvisor" compare builtin:boot --hypervisors qemu --disks direct,vdfuse --blocks 5 --seed 7 --report "$work/killed" \
    >"$work/out" 2>&1 &
for ((kill = 1; kill <= kills; kill++)); do
    had=$(samples "$work/killed" 2>/dev/null | wc -l || true)
    while kill -0 $! 2>/dev/null && [ "$(samples "$work/killed" 2>/dev/null | wc -l)" -le "$had" ]; do sleep 0.1; done
    # Somewhere in the next sample.
    sleep "0.$((RANDOM % 10))"
    check "it was alive to be killed" kill -9 $!
    wait $! 2>/dev/null || true
    "$anyvisor" reap >"$work/reaped" 2>&1
    "$anyvisor" compare --resume "$work/killed" >"$work/out" 2>&1 &
done
check "what was killed $kills times goes on to its end" wait $!
check "no sample is lost or doubled" whole "$work/killed" 12
cp "$work/killed/summary.json" "$work/summary.json"
check "everything can be computed anew" "$anyvisor" compare --recompute "$work/killed"
check "to the same bytes" cmp "$work/summary.json" "$work/killed/summary.json"
check "the summary is about both cells" grep -q '"isDifferent"' "$work/summary.json"
check "the report is whole" grep -q '</html>' "$work/killed/report.html"
check "held against itself nothing is slower" "$anyvisor" compare --recompute "$work/killed" --against "$work/killed" --fail-if-slower 5%

cat >"$work/differs.yaml" <<'RECIPE'
name: differs
image: tiny
machine: {memory: 256MiB}
matrix: {word: [same, other]}
tasks:
  - id: say
    run: |
      echo "${{ matrix.word }}"
      echo "metric letters 5 letters"
RECIPE
check "a recipe's matrix is compared" "$anyvisor" compare "$work/differs.yaml" --hypervisors qemu --blocks 2 --warm-up 0 --report "$work/differs"
check "raw data that differs is a finding" grep -q "stdout, line 1: 'same', 'other'" "$work/differs/summary.json"
check "a number of the task's own is there" grep -q '"metric.say.letters"' "$work/differs/summary.json"
check "a cell that fails is told, and the rest is measured" "$anyvisor" compare builtin:boot --hypervisors qemu,xen --blocks 2 --warm-up 0 --report "$work/failing"
check "with its reason" grep -q '"failed" : 2' "$work/failing/summary.json"

check "one cell alone is refused" refused 2 "nothing to compare it with" "$anyvisor" compare builtin:boot --hypervisors qemu
check "an unknown benchmark is refused" refused 2 "there is no builtin:boots" "$anyvisor" compare builtin:boots --hypervisors qemu,kvm
check "a name that stands for several is refused" refused 2 "stands for vbox, vboxmanage" "$anyvisor" compare builtin:boot --hypervisors virtualbox,qemu
check "a folder with other content is refused" refused 2 "exists already" "$anyvisor" compare builtin:boot --boot cold,warm --report "$work/killed"
check "a folder without a comparison is refused" refused 2 "holds no comparison" "$anyvisor" compare --resume "$work"
check "nothing is left" nothing_left
echo "compare: $good passed, 0 failed"
