#!/bin/sh
# by-hand.sh TINY-IMAGE-DIR [SCRIPT]: a job without anyvisor, that of examples/hello-tiny.yaml or SCRIPT: an IO disk made by mke2fs,
# QEMU on the image's kernel, the results read with debugfs. The time, printed in seconds, ends when QEMU has exited.
set -eu
image=${1:?usage: by-hand.sh TINY-IMAGE-DIR [SCRIPT]}
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
start=$(date +%s%N)
task=$work/disk/job/tasks/001-hello
mkdir -p "$task" "$work/disk/job/inputs"
echo by-hand >"$work/disk/job/token"
if [ -n "${2:-}" ]; then cp "$2" "$task/run.sh"; else echo 'echo "hello from Linux $(uname -r)"' >"$task/run.sh"; fi
echo timeout=120 >"$task/limits"
truncate -s 256M "$work/io.raw"
mke2fs -q -F -t ext4 -L anyvisor-io -d "$work/disk" "$work/io.raw"
qemu-img create -q -f qcow2 -F raw -b "$image/root.raw" "$work/root.qcow2"
qemu-system-x86_64 -accel tcg -nodefaults -display none -no-reboot -m 256 -serial "file:$work/console" \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "$(sed -n 's/^ *"commandLine": "\(.*\)",$/\1/p' "$image/image.json")" \
    -drive "file=$work/root.qcow2,format=qcow2,if=virtio" -drive "file=$work/io.raw,format=raw,if=virtio"
end=$(date +%s%N)
status=$(debugfs -R 'cat /results/001-hello/status' "$work/io.raw" 2>/dev/null)
[ "$status" = success ] || { echo "by-hand: the task ended with '$status'" >&2; tail -n 5 "$work/console" >&2; exit 1; }
echo "$start $end" | awk '{printf "%.3f\n", ($2 - $1) / 1e9}'
