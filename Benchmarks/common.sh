# common.sh, for the benchmarks: a work folder, samples, medians and rows. To be sourced by bash.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
export ANYVISOR_STATE=$work/state

now() { date +%s%N; }
median() { sort -n "$work/$1.ms" | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
# Adds one sample in ms; what came before is on the disk already, so that nobody pays for another's writing.
timed() { # NAME COMMAND...
    local name=$1 start; shift
    sync
    start=$(now)
    "$@" >/dev/null 2>"$work/err" || { echo "bench: $name failed: $(tail -n 2 "$work/err")" >&2; return 1; }
    echo $((($(now) - start) / 1000)) | awk '{print $1/1000}' >>"$work/$name.ms"
}
row() { # LABEL OURS THEIRS GOAL
    awk -v l="$1" -v a="$(median "$2")" -v b="$(median "$3")" -v g="$4" \
        'BEGIN {printf "%-52s %9.1f ms %9.1f ms  ratio %.2f  (goal: %s)\n", l, a, b, a/b, g}'
}
alone() { # LABEL NAME GOAL
    [ ! -e "$work/$2.ms" ] || printf '%-52s %9.1f ms%s\n' "$1" "$(median "$2")" "${3:+  (goal: $3)}"
}
