#!/usr/bin/env bash
# fuzz.sh [RUNS] [EXT_RUNS]: libFuzzer over every header, block map and partition table that anyvisor parses itself (RUNS inputs),
# and over the metadata of ext file systems through `direct` (EXT_RUNS mutations of at most 2 s each). The corpus is kept in
# Fuzz/corpus; what was found is left in Fuzz/found, and the ends of both logs in Fuzz/log.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10000000} ext_runs=${2:-$((${1:-10000000} / 50))}
for name in images ext; do
    ANYVISOR_FUZZ=1 swift build -c release --scratch-path .build/fuzz -Xswiftc -sanitize=fuzzer -Xswiftc -enable-testing \
        --product "fuzz-$name"
done
programs=$(dirname "$(ls .build/fuzz/*/release/fuzz-ext)")
work=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work"' EXIT
mkdir -p Fuzz/found Fuzz/corpus "$work/images" "$work/ext"
Fuzz/seeds.sh "$work/images"
Fuzz/ext-bases.sh "$work"
status=0
fuzz() { # NAME RUNS OPTION...: the corpus is unpacked into memory, and packed again with what this run has added
    local name=$1 count=$2
    shift 2
    mkdir -p "$work/old/$name" "$work/new/$name"
    [ ! -e "Fuzz/corpus/$name.tar.xz" ] || tar -C "$work/old" -xJf "Fuzz/corpus/$name.tar.xz"
    FUZZ_EXT_IMAGES=$work "$programs/fuzz-$name" -runs="$count" -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="Fuzz/found/$name-" "$@" "$work/$name" "$work/old/$name" >"$work/$name.log" 2>&1 || status=1
    if FUZZ_EXT_IMAGES=$work "$programs/fuzz-$name" -merge=1 "$@" "$work/new/$name" "$work/old/$name" "$work/$name" \
        >/dev/null 2>&1; then
        tar -C "$work/new" --sort=name --owner=0 --group=0 --mtime=@0 -cJf "Fuzz/corpus/$name.tar.xz" "$name"
    fi
    {
        echo "== fuzz-$name, $(date -u +%F), $(git rev-parse --short HEAD)"
        grep -E 'DONE|Fatal|ERROR|SUMMARY|stat::' "$work/$name.log" || tail -n 20 "$work/$name.log"
    } | tee -a "$work/log"
}
fuzz images "$runs" -max_len=4096 -timeout=10
fuzz ext "$ext_runs" -max_len=201 -len_control=0 -timeout=2
cp "$work/log" Fuzz/log.txt
rmdir --ignore-fail-on-non-empty Fuzz/found
exit $status
