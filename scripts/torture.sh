#!/usr/bin/env bash
# torture.sh ANYVISOR SEED COUNT: SIGKILLs uploads at random moments; afterwards the image must hold the old or the new
# content, never something between, and its file system must be clean. FORMATS names the formats, DISKS the backends, MIB the size
# of the largest file.
anyvisor=$(realpath "$1") seed=$2 count=$3
source "$(dirname "$0")/common.sh"
set +m
RANDOM=$seed
echo "torture: seed $seed, $count kills for each format and backend"
source "$(dirname "$0")/uploads.sh"

torture() { # KIND BACKEND
    local kind=$1 disk=$2 format chain whole n outcome
    chain=$disk,direct
    [ "$disk" != direct ] || chain=direct,vdfuse
    format=$(suffix "$kind")
    rm -f "$work/clean"
    make_image "$kind" "$work/clean"
    [ "$kind" != layer ] || parent=$(sha256sum "$work/parent.vdi")
    whole=100000
    for _ in 1 2 3; do
        cp "$work/clean" "$work/t.$format"
        started=$(date +%s%N)
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" --disk "$chain" 2>/dev/null
        took=$((($(date +%s%N) - started) / 1000000))
        [ "$took" -ge "$whole" ] || whole=$took
    done
    for n in $(seq "$count"); do
        cp "$work/clean" "$work/t.$format"
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" --disk "$chain" >/dev/null 2>&1 &
        victim=$!
        pause=$((RANDOM % (whole + 1)))
        sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
        # mostly the command and its plugin die together; else only the plugin does, and the next backend takes over
        ((RANDOM % 4 == 0)) || kill -9 "$victim" 2>/dev/null || true
        # the QEMU that reads and writes a foreign format, or is the appliance, dies with its user or alone
        doomed="anyvisor-$disk"
        case $kind/$disk in qcow2/* | vmdk/* | */libguestfs) ((RANDOM % 3 != 0)) || doomed="qemu-nbd|qemu-system" ;; esac
        kill -9 $(mine "^[^ ]*($doomed)") 2>/dev/null || true
        wait "$victim" 2>/dev/null || true
        # what was killed holds its run a moment longer on a busy machine
        for _ in $(seq 50); do
            "$anyvisor" reap >"$work/reap" 2>&1 || true
            [ -n "$(ls "$work/state/runs" 2>/dev/null)" ] || break
            sleep 0.1
        done
        outcome=$(look_into "$kind" "$work/t.$format")
        left=$(left_over)
        [ -z "$left" ] || outcome="$left; reap said: $(cat "$work/reap")"
        count_outcome "$kind, $disk, kill $n after $pause ms" "$outcome"
    done
    [ "$kind" != layer ] || [ "$parent" = "$(sha256sum "$work/parent.vdi")" ] || verdict "the parent of a layer" "it was changed"
    echo "torture: $kind, $disk: $count kills"
}
for disk in ${DISKS:-direct}; do
    for kind in ${FORMATS:-raw vdi layer vhd qcow2}; do torture "$kind" "$disk"; done
done
verdict "nothing is left at the end" "$(left_over)"
echo "torture: $passed held ($olds old, $news new)"
summary
