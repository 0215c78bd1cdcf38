#!/usr/bin/env bash
# ext-bases.sh FOLDER: small ext file systems with every structure that `direct` reads, for Fuzz/Ext to mutate.
set -euo pipefail
out=$(realpath "$1")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/dir/deep/er" "$tree/many"
for n in $(seq 200); do : >"$tree/many/a-name-that-fills-the-folder-$n"; done
head -c 30000 /dev/urandom >"$tree/dir/data"
for n in 0 2 4 6 8 10; do printf x | dd of="$tree/dir/holes" bs=1k seek=$((n * 3)) conv=notrunc status=none; done
ln -s dir/data "$tree/link"
ln -s "$(printf 'x%.0s' $(seq 200))" "$tree/long-link"
ln "$tree/dir/data" "$tree/dir/hard"
base() { # NAME OPTION...
    local name=$1
    shift
    rm -f "$out/$name.base"
    truncate -s 1M "$out/$name.base"
    mke2fs -q -F -b 1024 -N 512 -d "$tree" "$@" "$out/$name.base"
}
base ext2 -t ext2
base ext3 -t ext3 -O ^has_journal
base ext4 -t ext4 -O ^metadata_csum,^has_journal,inline_data -I 256
base ext4-csum -t ext4 -O metadata_csum,^has_journal
base ext4-plain -t ext4 -O ^metadata_csum,^has_journal,^64bit,^resize_inode
