#!/usr/bin/env bash
# full-host.sh ANYVISOR [MIB]: an upload of MIB to an image whose file system on the host is full after 0, 4, 8, ... MiB more, by
# each backend of DISKS into each format of FORMATS: a clear error, the image as before, nothing left; the first that fits succeeds.
anyvisor=$(realpath "$1") mib=${2:-64}
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/images.sh"
if [ "$(id -u)" != 0 ]; then
    echo "full-host: SKIPPED: mounting a small file system needs root"
    exit
fi
head -c "${mib}M" /dev/urandom >"$work/new"
head -c 3M /dev/urandom >"$work/old"
truncate -s $((2 * mib))M "$work/base.raw"
mke2fs -q -F -t ext4 "$work/base.raw"
"$anyvisor" disk put "$work/base.raw" "$work/old" /file --disk direct 2>/dev/null
mkdir "$work/host"

metadata() { # IMAGE KIND: all but the content of its blocks
    rm -f "$work/flat"
    flatten "$2" "$1" "$work/flat"
    e2fsck -fn "$work/flat" >"$work/fsck" 2>&1 || tail -n 3 "$work/fsck"
    e2image -r "$work/flat" - 2>/dev/null | sha256sum
}
attempt() { # KIND BACKEND ROOM-IN-MIB: 1 when the upload did not fit
    local status=0 image used format
    format=$(suffix "$1")
    image=$work/host/t.$format
    used=$(($(stat -c %b "$work/base.$1") / 2))
    mount -t tmpfs -o size=$((used + $3 * 1024 + 64))k scripts-own "$work/host"
    cp --sparse=always "$work/base.$1" "$image"
    "$anyvisor" disk put "$image" "$work/new" /file --disk "$2" --format "$format" --parent-folder "$work" 2>"$work/err" || status=$?
    if [ "$status" = 0 ]; then
        "$anyvisor" disk cat "$image" /file --format "$format" --parent-folder "$work" 2>"$work/err" >"$work/back" || true
        verdict "$1, $2, $3 MiB are enough" "$(cmp "$work/new" "$work/back" 2>&1 || cat "$work/err"; left_over)"
    else
        verdict "$1, $2, full after $3 MiB" "$(
            [ "$status" = 16 ] || echo "exit $status, not 16"
            grep -q space "$work/err" || echo "the error does not speak of space: $(tail -n 2 "$work/err")"
            "$anyvisor" disk cat "$image" /file --format "$format" --parent-folder "$work" --disk direct 2>"$work/err" | cmp - "$work/old" 2>&1 || cat "$work/err"
            [ "$(metadata "$image" "$1")" = "$before" ] || echo "the image has changed: $(tail -n 2 "$work/fsck")"
            ls -A "$work/host" | grep -vx "t.$format" || true
            left_over
        )"
    fi
    umount "$work/host"
    return $((status != 0))
}
for kind in ${FORMATS:-raw vdi layer vhd qcow2}; do
    [ "$kind" = raw ] || make_image "$kind" "$work/base.$kind"
    before=$(metadata "$work/base.$kind" "$kind")
    for disk in ${DISKS:-direct vdfuse libguestfs}; do
        room=0
        until attempt "$kind" "$disk" "$room"; do
            room=$((room + 4))
            [ "$room" -le $((6 * mib)) ] || { verdict "$kind, $disk" "it did not fit into $room MiB"; break; }
        done
    done
done
summary
