#!/usr/bin/env bash
# power-loss.sh ANYVISOR SEED COUNT: an upload to an image on an ext4 of the host whose every write and flush QEMU's blklogwrites
# records; the power is then cut COUNT times at random places of the record. What was flushed is there, of what came after it each
# 512 bytes survive or not. The image must hold the old or the new content, the new one once the command had returned; its file
# system must be clean. FORMATS names the formats, DISKS the backends, MIB the size of the largest file.
anyvisor=$(realpath "$1") seed=$2 count=$3
source "$(dirname "$0")/common.sh"
if [ "$(id -u)" != 0 ]; then
    echo "power-loss: SKIPPED: mounting a file system of its own needs root"
    exit
fi
RANDOM=$seed
echo "power-loss: seed $seed, $count cuts for each format and backend"
source "$(dirname "$0")/uploads.sh"
mkdir "$work/host"

record() { # KIND BACKEND: $work/before, $work/log and $returned, the length of the log when the command had returned
    local kind=$1 image daemon
    image=$work/host/t.$(suffix "$kind")
    rm -f "$work/before" "$work/disk" "$work/log"
    truncate -s 640M "$work/before"
    mke2fs -q -F -t ext4 "$work/before"
    mount -o loop "$work/before" "$work/host"
    make_image "$kind" "$image"
    umount "$work/host"
    cp --sparse=always "$work/before" "$work/disk"
    : >"$work/log"
    : >"$work/export"
    qemu-storage-daemon --blockdev "driver=file,filename=$work/disk,node-name=data" \
        --blockdev "driver=file,filename=$work/log,node-name=record" \
        --blockdev driver=blklogwrites,file=data,log=record,node-name=disk \
        --export "type=fuse,id=fuse,node-name=disk,mountpoint=$work/export,writable=on" </dev/null >"$work/daemon" 2>&1 &
    daemon=$!
    for _ in $(seq 500); do [ ! -s "$work/export" ] || break; sleep 0.02; done
    mount -o loop "$work/export" "$work/host"
    "$anyvisor" disk put "$image" "$work/new" /data --format "$(suffix "$kind")" --parent-folder "$work" --disk "$2" 2>"$work/error"
    returned=$(stat -c %s "$work/log")
    umount "$work/host"
    kill $daemon
    wait $daemon 2>/dev/null || true
}
cut() { # KIND BACKEND NUMBER
    local kind=$1 image outcome place
    image=$work/host/t.$(suffix "$kind")
    place=$("$project/scripts/power-cut" "$work/before" "$work/log" "$work/disk" "$returned" $RANDOM)
    mount -o loop "$work/disk" "$work/host" || { verdict "$kind, $2, cut $3 at $place" "the host's own file system is lost"; return; }
    outcome=$(look_into "$kind" "$image")
    [ "$outcome/${place##* }" != old/returned ] || outcome="old, though the command had returned"
    # the next writer clears up what was in the making
    "$anyvisor" disk mkdir "$image" /later --format "$(suffix "$kind")" --parent-folder "$work" 2>"$work/error" || outcome="no more writing"
    [ -z "$(ls -A "$work/host" | grep -vx -e lost+found -e "t.$(suffix "$kind")")" ] || outcome="leftover: $(ls -A "$work/host")"
    umount "$work/host"
    count_outcome "$kind, $2, cut $3 at $place" "$outcome"
}
for disk in ${DISKS:-direct}; do
    for kind in ${FORMATS:-raw vdi layer vhd qcow2}; do
        record "$kind" "$disk"
        for n in $(seq "$count"); do cut "$kind" "$disk" "$n"; done
        echo "power-loss: $kind, $disk: $count cuts"
    done
done
verdict "both contents were seen" "$([ $olds -gt 0 ] && [ $news -gt 0 ] || echo "$olds old, $news new")"
verdict "nothing is left at the end" "$(left_over)"
echo "power-loss: $passed held ($olds old, $news new)"
summary
