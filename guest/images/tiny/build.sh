#!/bin/sh
# Debian's cloud kernel, an initramfs of busybox with the agent in it, and an empty disk.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../common.sh"
begin tiny "${1:-}"
need mke2fs e2fsprogs
take_kernel
make_initramfs "$here/../.."
truncate -s 64M "$build/root.raw"
PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -O ^has_journal -L anyvisor-root "$build/root.raw"
cat >"$build/image.json" <<JSON
{"name": "tiny", "format": "raw", "disk": "root.raw", "kernel": "vmlinuz", "initrd": "initrd",
 "commandLine": "$command_line", "python": null, "memoryMinimumMiB": 96, "kernelVersion": "$kernel"}
JSON
finish
