#!/bin/sh
# Assembles the boot sector and puts it on a disk of 1 MiB.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../common.sh"
begin mini "${1:-}"
need ld binutils
if command -v gcc >/dev/null; then compiler=gcc; else compiler=clang; fi
need $compiler gcc
$compiler -c -m32 -o "$build/mini.o" "$here/mini.S"
ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$build/disk.raw" "$build/mini.o"
rm "$build/mini.o"
[ "$(wc -c <"$build/disk.raw")" = 512 ] || fail "the boot sector has not 512 bytes"
truncate -s 1M "$build/disk.raw"
cat >"$build/image.json" <<'JSON'
{"name": "mini", "format": "raw", "disk": "disk.raw", "kernel": null, "initrd": null, "commandLine": "", "python": null,
 "memoryMinimumMiB": 1}
JSON
finish
