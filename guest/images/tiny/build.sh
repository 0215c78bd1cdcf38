#!/bin/sh
# Image `tiny`: Debian's cloud kernel and a busybox initramfs that is the whole system, beside an empty disk that it does
# not need. Boots in about two seconds without hardware acceleration.
set -eu
. "$(dirname "$0")/../common.sh"
begin tiny "$@"
need mke2fs e2fsprogs
kernel_and_initramfs
empty_disk "$files/root.raw" 64M
cat >"$files/image.json" <<END
{
  "name": "tiny",
  "format": "raw",
  "disk": "root.raw",
  "kernel": "vmlinuz",
  "initrd": "initrd",
  "commandLine": "$command_line",
  "python": null,
  "memoryMinimumMiB": 96,
  "kernelVersion": "$release"
}
END
finish
