#!/usr/bin/env bash
# fuse.sh ANYVISOR [ROUNDS]: the whole disk as a file, `anyvisor mount` against QEMU's FUSE export of the same image in turns;
# 1 GiB read and written in order by dd, 1 MiB at a time, writes with fsync; medians in MiB/s. The goal is 0.8 of QEMU's.
set -euo pipefail
anyvisor=$1 rounds=${2:-5}
work=$(mktemp -d)
server=
finish() {
    "$anyvisor" unmount "$work/ours" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
export ANYVISOR_STATE=$work/state
mib=1024

now() { date +%s%N; }
median() { sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
timed() { # NAME COMMAND...: adds one sample in MiB/s
    local name=$1 start; shift
    start=$(now); "$@" 2>"$work/err" || { cat "$work/err" >&2; return 1; }
    echo $(($(now) - start)) | awk -v m=$mib '{print m * 1e9 / $1}' >>"$work/$name"
}
copies() { # NAME FILE
    timed "$1-read" dd if="$2" of=/dev/null bs=1M status=none
    timed "$1-write" dd if="$work/source" of="$2" bs=1M conv=notrunc,fsync status=none
}
ours() { # FORMAT
    "$anyvisor" mount "$work/disk.$1" "$work/ours" --read-write >/dev/null 2>&1
    copies "ours-$1" "$work/ours/EntireDisk"
    "$anyvisor" unmount "$work/ours"
    "$anyvisor" mount "$work/disk.$1" "$work/ours" >/dev/null 2>&1
    timed "ours-$1-readonly" dd if="$work/ours/EntireDisk" of=/dev/null bs=1M status=none
    cmp "$work/source" "$work/ours/EntireDisk"
    "$anyvisor" unmount "$work/ours"
}
theirs() { # FORMAT
    : >"$work/theirs"
    qemu-storage-daemon --blockdev "driver=file,filename=$work/disk.$1,node-name=file" \
        --blockdev "driver=$1,file=file,node-name=disk" \
        --export "type=fuse,id=fuse,node-name=disk,mountpoint=$work/theirs,writable=on" </dev/null >/dev/null 2>&1 &
    server=$!
    until [ -s "$work/theirs" ]; do kill -0 $server && sleep 0.01; done
    copies "theirs-$1" "$work/theirs"
    kill $server; wait $server || true
    server=
}
row() { # LABEL OURS THEIRS
    local a b; a=$(median <"$work/$2"); b=$(median <"$work/$3")
    awk -v l="$1" -v a="$a" -v b="$b" 'BEGIN {printf "%-36s %7.0f MiB/s %7.0f MiB/s  ratio %.2f  (goal at least 0.8)\n", l, a, b, a/b}'
}

mkdir "$work/ours"
head -c "${mib}M" /dev/urandom >"$work/source"
cp "$work/source" "$work/disk.raw"
qemu-img convert -f raw -O vdi "$work/source" "$work/disk.vdi"
sync "$work"/disk.*
for round in $(seq "$rounds"); do
    for format in raw vdi; do
        # who goes first changes, since the second finds a warmer host
        if [ $((round % 2)) = 0 ]; then ours $format; theirs $format; else theirs $format; ours $format; fi
    done
done
echo "$rounds rounds in turns, medians; 1 GiB through anyvisor mount : through qemu-storage-daemon's FUSE export"
for format in raw vdi; do
    row "$format, read, mounted for writing" "ours-$format-read" "theirs-$format-read"
    row "$format, read, mounted read-only" "ours-$format-readonly" "theirs-$format-read"
    row "$format, write and fsync" "ours-$format-write" "theirs-$format-write"
done
