#!/usr/bin/env bash
# chain.sh ANYVISOR [ROUNDS]: a VDI of 8 layers, each with 32 MiB of its own, in turns with the same disk as one layer over its base.
anyvisor=$1 rounds=${2:-7}
source "$(dirname "$0")/common.sh"
trap 'rm -rf "$work"' EXIT

head -c 256M /dev/urandom >"$work/new"
"$anyvisor" disk create "$work/layer0.vdi" --format vdi --size 1G --filesystem ext4 2>/dev/null
"$anyvisor" disk mkdir "$work/layer0.vdi" /old
for i in $(seq 8); do
    [ "$i" = 8 ] || layer=$work/layer$i.vdi
    [ "$i" != 8 ] || layer=$work/clean8.vdi
    "$anyvisor" disk create "$layer" --format vdi --parent "$work/layer$((i - 1)).vdi" 2>/dev/null
    head -c 32M /dev/urandom >"$work/part"
    "$anyvisor" disk put "$layer" "$work/part" "/old/part$i" --disk direct 2>/dev/null
done
"$anyvisor" disk export "$work/clean8.vdi" "$work/flat.raw" 2>/dev/null
qemu-img convert -f raw -O vdi "$work/flat.raw" "$work/flat.vdi"
"$anyvisor" disk create "$work/clean1.vdi" --format vdi --parent "$work/flat.vdi" 2>/dev/null
for round in $(seq "$rounds"); do
    for layers in $([ $((round % 2)) = 0 ] && echo 1 8 || echo 8 1); do
        cp "$work/clean$layers.vdi" "$work/disk.vdi"
        rm -rf "$work/out"
        timed "get$layers" "$anyvisor" disk get "$work/disk.vdi" /old "$work/out" --disk direct
        timed "put$layers" "$anyvisor" disk put "$work/disk.vdi" "$work/new" /new --disk direct
        timed "ls$layers" "$anyvisor" disk ls "$work/disk.vdi" /old --disk direct
    done
done
echo "VDI chains, $rounds rounds in turns, medians: 8 layers : one layer"
row "get 256 MiB that lie in all layers" get8 get1 "at most 1.2"
row "put 256 MiB" put8 put1 "at most 1.2"
row "ls" ls8 ls1 "at most 1.2"
