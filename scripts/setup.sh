#!/bin/sh
# setup.sh [PACKAGE...]: installs the Debian packages of packages.txt, and these, that are missing, without asking.
# As root or with sudo; otherwise it prints the one line to run and exits 2.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
missing=
for package in $(sed 's/#.*//' "$here/packages.txt") "$@"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
elif [ -n "$missing" ]; then
    echo "setup: these packages are missing; run as root:" >&2
    echo "apt-get update && apt-get install --no-install-recommends -y$missing" >&2
    exit 2
else
    exit 0
fi
if [ -n "$missing" ]; then
    echo "setup: installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # update-initramfs would spend a minute on a kernel that this host never boots
    { $as_root apt-get update -q &&
        $as_root env DEBIAN_FRONTEND=noninteractive INITRD=No apt-get install -q -y --no-install-recommends $missing; } \
        >"$log" 2>&1 || { tail -n 20 "$log" >&2; echo "setup: apt-get failed" >&2; exit 1; }
fi
# libvirt's QEMU driver does not start as root unless its usual user exists, even if it then runs QEMU as root
if ! getent passwd libvirt-qemu >/dev/null; then
    $as_root useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
        libvirt-qemu || true
fi
# What udev does on a machine that has it: every user may open /dev/fuse, which is safe by design (mount.fuse(8)).
if [ -c /dev/fuse ] && [ ! -w /dev/fuse -o "$(stat -c %a /dev/fuse)" != 666 ]; then $as_root chmod 666 /dev/fuse || true; fi
# libguestfs' appliance reads the host's kernel
for kernel in /boot/vmlinuz-*; do
    [ -r "$kernel" ] || [ ! -e "$kernel" ] || $as_root chmod 644 "$kernel"
done
