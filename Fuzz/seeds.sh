#!/usr/bin/env bash
# seeds.sh FOLDER: real images of every kind, in the encoding of Fuzz/Images/PatchedImage.swift, for libFuzzer to start from.
set -euo pipefail
out=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seed() { # NAME KIND IMAGE: the pieces of the image that are not zero, at most 3 KiB of them
    python3 - "$out/$1" "$2" "$3" <<'PY'
import pathlib, struct, sys
target, kind, image = sys.argv[1:]
data = pathlib.Path(image).read_bytes()
patches, room = b"", 3072
for at in range(0, len(data), 512):
    piece = data[at:at + 512].rstrip(b"\0")
    if piece and room >= len(piece):
        patches += struct.pack("<IHH", at // 512, 0, len(piece)) + piece
        room -= len(piece)
pathlib.Path(target).write_bytes(struct.pack("<BBI", int(kind), 0, (len(data) + 511) // 512) + patches)
PY
}
truncate -s 64M mbr.img gpt.img
printf 'label: dos\n,8M,83\n,8M,c\n,,5\n,4M,83\n,4M,82\n' | sfdisk -q mbr.img
printf 'label: gpt\n,8M,,*\n,8M\n' | sfdisk -q gpt.img
seed mbr 0 mbr.img
seed gpt 1 gpt.img
for format in vdi vpc qcow2 vmdk; do qemu-img create -q -f $format d.$format 8M && qemu-io -f $format -c 'write -P 1 0 4k' -c 'write -P 2 5M 64k' d.$format >/dev/null; done
qemu-img create -q -f vpc -o subformat=fixed fixed.vpc 4M
qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 over.qcow2
qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse split.vmdk 8M
qemu-img convert -O vmdk -o subformat=streamOptimized d.qcow2 stream.vmdk
seed vdi 2 d.vdi
seed vhd 3 d.vpc
seed vhd-fixed 3 fixed.vpc
seed qcow2 4 d.qcow2
seed qcow2-over 4 over.qcow2
seed vmdk 5 d.vmdk
seed vmdk-stream 5 stream.vmdk
seed vmdk-descriptor 6 split.vmdk
for system in ext4 vfat xfs; do
    truncate -s 64M $system.img && case $system in ext4) mke2fs -q -F -t ext4 -L label $system.img ;; *) command -v mkfs.$system >/dev/null && mkfs.$system $system.img >/dev/null 2>&1 ;; esac || continue
    seed whole-$system 0 $system.img
done
