#!/bin/sh
# Debian 12 with Python, pip and venv; the agent comes with the initramfs. As an ordinary user it needs uidmap and ids of its
# own in /etc/subuid.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../common.sh"
begin debian-python "${1:-}"
PATH=$PATH:/sbin:/usr/sbin
need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
take_kernel

if [ "$(id -u)" = 0 ]; then
    mode=root
    inside=
else
    mode=unshare
    need newuidmap uidmap
    grep -q "^$(id -un):" /etc/subuid 2>/dev/null ||
        fail "you have no ids of your own in /etc/subuid; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
    inside='unshare --map-auto --map-root-user'
fi

# The mirror that this host uses; it stays out of the image.
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1)
[ -n "$mirror" ] || fail "this host's apt has no Debian mirror"

say "installing Debian 12 with Python"
mkdir -p "$build/rootfs"
mmdebstrap --mode=$mode --variant=minbase --include=python3,python3-pip,python3-venv \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*' \
    --customize-hook='echo machine >"$1"/etc/hostname; printf "127.0.0.1 localhost machine\n" >"$1"/etc/hosts' \
    --customize-hook='mkdir -p "$1"/job' \
    bookworm "$build/root.tar" "$mirror" >"$build/log" 2>&1 ||
    { sed "s,$mirror,MIRROR,g" "$build/log" | tail -n 15 >&2; fail "mmdebstrap failed"; }

truncate -s 3G "$build/root.raw"
# One name space for both steps: the tree's owners mean something only inside it.
$inside sh -ec '
    tar -C "$1/rootfs" -xpf "$1/root.tar" --exclude="./dev/*"
    mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1 -L anyvisor-root -d "$1/rootfs" "$1/root.raw"
    rm -rf "$1/rootfs"' sh "$build"
python=$(tar -tf "$build/root.tar" | sed -n 's,^\./usr/bin/python\(3\.[0-9]*\)$,\1,p' | head -n 1)
[ -n "$python" ] || fail "the new system has no Python"
rm -f "$build/root.tar" "$build/log"
make_initramfs "$here/../.."
cat >"$build/image.json" <<JSON
{"name": "debian-python", "format": "raw", "disk": "root.raw", "kernel": "vmlinuz", "initrd": "initrd",
 "commandLine": "$command_line anyvisor.root=1",
 "python": {"version": "$python", "abi": "cp$(echo "$python" | tr -d .)", "platforms": ["manylinux_2_36_x86_64", "manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64", "any"]},
 "memoryMinimumMiB": 256, "kernelVersion": "$kernel"}
JSON
finish
