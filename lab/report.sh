#!/usr/bin/env bash
# report.sh LAB ANYVISOR: builds the lab when it is missing, puts the built project into it, runs LAB/prove.sh there, and writes what
# that printed to docs/lab/LAB.md, with a comparison of the lab's result of examples/everywhere.yaml with one made here by `qemu`.
# Ends with 0 when all of it is good. With FILTER only the cases of the conformance suite that have
# this text run, and nothing is written.
set -euo pipefail
lab=$1 anyvisor=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
built=$(dirname "$anyvisor")
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
begun=$SECONDS
head=$(git -C "$project" describe --always --dirty --exclude "*")
"$here/$lab/build.sh"
ready=$SECONDS
mkdir -p "$share/bin" "$share/cache/images"
cp "$built"/anyvisor{,-direct,-vdfuse,-libvirt,-vboxmanage} "$share/bin"
strip --strip-debug "$share"/bin/*
cp -r "$project/plugins" "$project/guest" "$share/bin"
cp -r "$project/examples" "$project/scripts" "$here/anyvisor.yaml" "$here/$lab/prove.sh" "$share"
# The nested host has no compiler, and no network: what it needs of images is built here.
sh "$project/guest/images/mini/build.sh" "$share/mini" >/dev/null
cat >"$share/bin/guest/images/mini/build.sh" <<'MINI'
set -eu
cp -r /share/mini "$1"
MINI
"$anyvisor" image build tiny >/dev/null
cp -r "$("$anyvisor" image list --json | grep -o '[^"]*/tiny-[0-9a-f]*')" "$share/cache/images"
status=0
LAB_SHARE=$share LAB_OUT=$share/out LAB_TIMEOUT=${LAB_TIMEOUT:-3600} "$here/$lab/run.sh" bash prove.sh "${FILTER:-}" | tee "$share/said" >&2 ||
    status=$?
{
    echo "\$ anyvisor run examples/everywhere.yaml --hypervisor qemu   # here"
    "$anyvisor" run "$project/examples/everywhere.yaml" --hypervisor qemu --report "$share/here" 2>&1 | tail -n 4 | head -n 3
    for there in "$share"/out/*/result.json; do
        echo "\$ anyvisor report diff here $(basename "$(dirname "$there")")"
        "$anyvisor" report diff "$share/here" "$(dirname "$there")" 2>&1 || status=1
    done
    [ -e "$share/out/report/result.json" ] || { echo "the lab has brought back no result" && status=1; }
} >"$share/compared"
cat "$share/compared" >&2
[ -z "${FILTER:-}" ] || exit "$status"
mkdir -p "$project/docs/lab"
{
    echo "# The $lab lab"
    echo
    echo "Written by \`make lab-$lab\` on $(date -u +%F), at $head; exit status $status."
    echo "The nested host: $(sed -n 's/^# Makes //p' "$here/$lab/build.sh" | head -n 1)"
    echo "Built, or found in the cache, in $((ready - begun)) s; the proof took $((SECONDS - ready)) s."
    echo '```'
    tr -d '\r' <"$share/said"
    cat "$share/compared"
    echo '```'
} >"$project/docs/lab/$lab.md"
exit $status
