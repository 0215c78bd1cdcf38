#!/usr/bin/env bash
# run.sh ANYVISOR [ROUNDS]: whole commands in turns against the thing to beat on this machine; medians and ratios.
# As root the tree is compared with a kernel loop mount; as an ordinary user that row is left out, and says so.
set -euo pipefail
anyvisor=$1 rounds=${2:-5}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'umount -q "$work/mnt" 2>/dev/null || true; rm -rf "$work"' EXIT
export ANYVISOR_STATE=$work/state

now() { date +%s%N; }
median() { sort -n | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
timed() { # NAME COMMAND...: adds one sample in ms to $work/NAME
    local name=$1 start; shift
    start=$(now); "$@" >/dev/null 2>"$work/err" || { echo "bench: $name failed: $(tail -n 2 "$work/err")" >&2; return 1; }
    echo $((($(now) - start) / 1000)) | awk '{print $1/1000}' >>"$work/$name.ms"
}
row() { # LABEL OURS THEIRS LIMIT
    local a b; a=$(median <"$work/$2.ms"); b=$(median <"$work/$3.ms")
    awk -v l="$1" -v a="$a" -v b="$b" -v m="$4" 'BEGIN {printf "%-44s %9.1f ms %9.1f ms  ratio %.2f  (goal %s)\n", l, a, b, a/b, m}'
}
durable_cp() { cp "$1" "$2" && sync "$2"; }

head -c 256M /dev/urandom >"$work/big"
mkdir "$work/tree"; for i in $(seq 2000); do head -c $((i % 16 * 512)) /dev/zero >"$work/tree/file$i"; done
truncate -s 1G "$work/raw.img"
printf 'label: dos\n2048,,83\n' | sfdisk -q "$work/raw.img"
mke2fs -q -F -t ext4 -E offset=1048576 "$work/raw.img" 1047552k
qemu-img convert -f raw -O vdi "$work/raw.img" "$work/clean.vdi"

backends="direct vdfuse libguestfs"
for round in $(seq "$rounds"); do
    cp "$work/clean.vdi" "$work/direct.vdi"; sync
    timed big-direct "$anyvisor" disk put "$work/direct.vdi" "$work/big" /big --disk direct
    rm -f "$work/copy"; timed big-host durable_cp "$work/big" "$work/copy"; rm -f "$work/copy"
    cp "$work/clean.vdi" "$work/direct.vdi"; sync
    timed tree-direct "$anyvisor" disk put "$work/direct.vdi" "$work/tree" /tree --disk direct
    "$anyvisor" disk put "$work/direct.vdi" "$work/tree/file3" /small --disk direct 2>/dev/null
    timed cat-direct "$anyvisor" disk cat "$work/direct.vdi" /small --disk direct
    if [ "$(id -u)" = 0 ]; then
        cp --sparse=always "$work/raw.img" "$work/loop.img"; sync; mkdir -p "$work/mnt"
        loop() { mount -o loop,offset=1048576 "$work/loop.img" "$work/mnt" && cp -a "$work/tree" "$work/mnt/tree" && umount "$work/mnt" && sync "$work/loop.img"; }
        timed tree-loop loop
    fi
done
for backend in vdfuse libguestfs; do
    for round in 1 2 3; do
        cp "$work/clean.vdi" "$work/other.vdi"; sync
        timed "big-$backend" "$anyvisor" disk put "$work/other.vdi" "$work/big" /big --disk "$backend" || break
        timed "tree-$backend" "$anyvisor" disk put "$work/other.vdi" "$work/tree" /tree --disk "$backend" || break
        timed "cat-$backend" "$anyvisor" disk cat "$work/other.vdi" /tree/file3 --disk "$backend" || break
    done
done

echo "$rounds rounds in turns, medians; VDI with one ext4 partition, whole commands, durable on both sides"
row "put 256 MiB, direct : cp + fsync on the host" big-direct big-host "at most 1.3"
if [ -e "$work/tree-loop.ms" ]; then
    row "put 2,000 files, direct : kernel loop mount" tree-direct tree-loop "at most 1.5"
else
    echo "put 2,000 files, direct: $(median <"$work/tree-direct.ms") ms (the kernel loop mount to compare with needs root)"
fi
echo "cat 1 KiB, direct: $(median <"$work/cat-direct.ms") ms (goal: at most 60 ms)"
for backend in vdfuse libguestfs; do
    for what in big tree cat; do
        [ ! -e "$work/$what-$backend.ms" ] || echo "$what, $backend: $(median <"$work/$what-$backend.ms") ms"
    done
done
[ ! -x "$here/cold-run.sh" ] || "$here/cold-run.sh" "$anyvisor" "${COLD_PAIRS:-11}"
