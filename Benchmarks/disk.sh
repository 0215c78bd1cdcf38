#!/usr/bin/env bash
# disk.sh ANYVISOR [ROUNDS]: whole `disk` commands in turns against the host's own cp and kernel loop mounts; a VDI with ext4,
# durable on both sides; medians. The other ways into a disk are measured beside them. Kernel mounts need root, and are left out
# loudly for anybody else.
anyvisor=$1 rounds=${2:-5} others=${OTHERS:-3}
source "$(dirname "$0")/common.sh"
daemon=
finish() {
    umount -q "$work/mnt" 2>/dev/null || fusermount3 -qu "$work/mnt" 2>/dev/null || true
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    "$anyvisor" reap >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

# --- material -------------------------------------------------------------------------------------------------------------
mkdir "$work/tree" "$work/many" "$work/mnt"
head -c 1G /dev/urandom >"$work/big"
for i in $(seq 2000); do head -c $((i % 16 * 512)) /dev/zero >"$work/tree/file$i"; done
for i in $(seq 20000); do echo "$i" >"$work/many/file$i"; done
head -c 1K /dev/urandom >"$work/small"
truncate -s 3G "$work/clean.raw"
mke2fs -q -F -t ext4 "$work/clean.raw"
qemu-img convert -f raw -O vdi "$work/clean.raw" "$work/clean.vdi"
fresh() { cp --sparse=always "$work/clean.$1" "$work/disk.$1"; rm -rf "$work/out"; }

# --- the ways in: WAY put|get SOURCE TARGET -------------------------------------------------------------------------------
anyvisor_way() { # BACKEND put|get SOURCE TARGET
    if [ "$2" = put ]; then "$anyvisor" disk put "$work/disk.vdi" "$3" "/$4" --disk "$1"; else
        "$anyvisor" disk get "$work/disk.vdi" "/$3" "$4" --disk "$1" && sync "$4"
    fi
}
direct() { anyvisor_way direct "$@"; }
vdfuse() { anyvisor_way vdfuse "$@"; }
libguestfs() { anyvisor_way libguestfs "$@"; }
host() { cp -a "$2" "$3" && sync "$3"; }
inside() { # put|get SOURCE TARGET, where $work/mnt is
    if [ "$1" = put ]; then cp -a "$2" "$work/mnt/$3"; else cp -a "$work/mnt/$2" "$3" && sync "$3"; fi
}
loop() { mount -o loop "$work/disk.raw" "$work/mnt" && inside "$@" && umount "$work/mnt" && sync "$work/disk.raw"; }
fuse2fs_way() {
    fuse2fs -o fakeroot "$work/disk.raw" "$work/mnt" && inside "$@" && fusermount3 -u "$work/mnt" || return 1
    until flock -n "$work/disk.raw" true && ! pgrep -f "^fuse2fs .*$work" >/dev/null; do sleep 0.01; done
    sync "$work/disk.raw"
}
qemu_export() {
    : >"$work/export"
    qemu-storage-daemon --blockdev "driver=file,filename=$work/disk.vdi,node-name=file" --blockdev driver=vdi,file=file,node-name=disk \
        --export "type=fuse,id=fuse,node-name=disk,mountpoint=$work/export,writable=on" </dev/null >/dev/null 2>&1 &
    daemon=$!
    until [ -s "$work/export" ]; do kill -0 $daemon && sleep 0.01; done
    mount -o loop "$work/export" "$work/mnt" && inside "$@" && umount "$work/mnt"
    kill $daemon; wait $daemon || true
    daemon=
    sync "$work/disk.vdi"
}

# --- in turns --------------------------------------------------------------------------------------------------------------
big() { # WAY IMAGE-FORMAT
    fresh "$2"
    timed "put-big-$1" "$1" put "$work/big" big
    timed "get-big-$1" "$1" get big "$work/out"
    cmp "$work/big" "$work/out"
}
tree() { # WAY IMAGE-FORMAT
    fresh "$2"
    timed "put-tree-$1" "$1" put "$work/tree" tree
    timed "get-tree-$1" "$1" get tree "$work/out"
    diff -r "$work/tree" "$work/out"
}
host_copies() { # NAME SOURCE
    rm -rf "$work/copy"
    timed "$1-host" host put "$2" "$work/copy"
    rm -rf "$work/copy"
}
ways="vdfuse:vdi fuse2fs_way:raw"
[ "$(id -u)" != 0 ] || ways="$ways loop:raw qemu_export:vdi"
for round in $(seq "$rounds"); do
    # who goes first changes, since the second finds a warmer host
    if [ $((round % 2)) = 0 ]; then big direct vdi; host_copies big "$work/big"; else host_copies big "$work/big"; big direct vdi; fi
    if [ "$(id -u)" = 0 ]; then tree loop raw; fi
    tree direct vdi
    fresh vdi
    timed put-many-direct direct put "$work/many" many
    "$anyvisor" disk put "$work/disk.vdi" "$work/small" /small --disk direct 2>/dev/null
    timed ls-direct "$anyvisor" disk ls "$work/disk.vdi" / --disk direct
    timed cat-direct "$anyvisor" disk cat "$work/disk.vdi" /small --disk direct
    if [ "$round" -le "$others" ]; then
        for way in $ways; do
            big "${way%:*}" "${way#*:}"
            [ "$way" = loop:raw ] || tree "${way%:*}" "${way#*:}"
        done
    fi
done
[ -n "${NO_LIBGUESTFS:-}" ] || { big libguestfs vdi; tree libguestfs vdi; }

echo "whole commands, $rounds rounds in turns ($others of the other ways, 1 of libguestfs), medians; VDI or raw with ext4, durable"
row "put 1 GiB, direct : cp + sync on the host" put-big-direct big-host "at most 1.15"
row "get 1 GiB, direct : cp + sync on the host" get-big-direct big-host "at most 1.15"
if [ "$(id -u)" = 0 ]; then
    row "put 2,000 files, direct : kernel loop mount of raw" put-tree-direct put-tree-loop "below 1"
    row "get 2,000 files, direct : kernel loop mount of raw" get-tree-direct get-tree-loop "none"
else
    echo "SKIPPED: kernel loop mounts and qemu-storage-daemon + loop, which need root"
fi
alone "put 20,000 files into one folder, direct" put-many-direct "below 3000 ms"
alone "ls, direct" ls-direct "at most 40 ms"
alone "cat 1 KiB, direct" cat-direct "at most 40 ms"
for way in direct vdfuse libguestfs loop fuse2fs_way qemu_export; do
    for what in put-big get-big put-tree get-tree; do
        alone "$(echo "$what: $way" | sed 's/big/1 GiB/; s/tree/2,000 files/; s/-/ /; s/fuse2fs_way/fuse2fs of raw/; s/loop/kernel loop mount of raw/; s/qemu_export/qemu-storage-daemon + loop/')" "$what-$way"
    done
done
