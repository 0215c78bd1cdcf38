#!/bin/sh
# Image `mini`: the boot sector of mini.S on a disk of 1 MiB.
set -eu
. "$(dirname "$0")/../common.sh"
begin mini "$@"
need ld binutils
find_compiler
"$compiler" -c -o "$work/mini.o" "$guest/images/mini/mini.S"
ld --oformat binary -Ttext 0x7c00 -o "$work/mini.bin" "$work/mini.o"
[ "$(wc -c <"$work/mini.bin")" -eq 512 ] || die "the boot sector is not 512 bytes long"
truncate -s 1048576 "$files/disk.raw"
dd if="$work/mini.bin" of="$files/disk.raw" conv=notrunc status=none
cat >"$files/image.json" <<END
{
  "name": "mini",
  "format": "raw",
  "disk": "disk.raw",
  "kernel": null,
  "initrd": null,
  "commandLine": "",
  "python": null,
  "memoryMinimumMiB": 32
}
END
finish
