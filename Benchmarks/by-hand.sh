#!/bin/sh
# by-hand.sh TINY-IMAGE-FOLDER: the job of examples/hello-tiny.yaml without anyvisor: an IO disk made by mke2fs, QEMU with the
# same kernel, memory and accelerator. Ends when QEMU does; prints what the task printed.
set -eu
image=$1
PATH=$PATH:/sbin:/usr/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/io/job/tasks/001-hello" "$work/io/job/inputs"
echo byhand >"$work/io/job/token"
echo 'echo "hello from $(uname -sr)"' >"$work/io/job/tasks/001-hello/run.sh"
truncate -s 256M "$work/io.raw"
mke2fs -q -F -t ext4 -L anyvisor-io -d "$work/io" "$work/io.raw"
qemu-img create -q -f qcow2 -F raw -b "$image/root.raw" "$work/root.qcow2"
line=$(sed -n 's/.*"commandLine": "\([^"]*\)".*/\1/p' "$image/image.json")
qemu-system-x86_64 -accel tcg -machine pc -smp 1 -m 256 -nodefaults -display none -no-reboot \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" -append "$line" -serial "file:$work/console" \
    -drive "file=$work/root.qcow2,format=qcow2,if=virtio" -drive "file=$work/io.raw,format=raw,if=virtio"
debugfs -R 'cat /results/001-hello/stdout' "$work/io.raw" 2>/dev/null
