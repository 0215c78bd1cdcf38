#!/bin/sh
# Image `debian-python`: Debian 12 with Python, pip and venv, and nothing else. The agent comes with the initramfs and runs
# as the first process: no service manager, no network. As an ordinary user it needs uidmap and ids in /etc/subuid.
set -eu
. "$(dirname "$0")/../common.sh"

# Runs a command as root of a name space in which the tree's owners mean something; plainly when we are root.
as_mapped_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else unshare --map-auto --map-root-user "$@"; fi
}

begin debian-python "$@"
need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
mode=root
if [ "$(id -u)" != 0 ]; then
    mode=unshare
    need newuidmap uidmap
    user=$(id -un)
    grep -q -e "^$user:" -e "^$(id -u):" /etc/subuid 2>/dev/null && grep -q -e "^$user:" -e "^$(id -u):" /etc/subgid ||
        die "you have no ids of your own in /etc/subuid and /etc/subgid; run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user"
    as_mapped_root true 2>"$work/unshare.log" ||
        die "this host forbids user name spaces ($(tail -n 1 "$work/unshare.log")); run as root: sysctl kernel.unprivileged_userns_clone=1"
fi
kernel_and_initramfs

# The mirrors that this host itself uses for Debian 12, else Debian's own. They stay out of the image.
apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 ~ /^bookworm/ && $3 == "main" && $4 ~ /^Debian/ {print "deb " $1 " " $2 " main"}' | sort -u >"$work/sources"
grep -q ' bookworm main$' "$work/sources" || echo 'deb http://deb.debian.org/debian bookworm main' >>"$work/sources"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "$keyring is missing; install the package debian-archive-keyring"

say "installing Debian 12 with Python (half a minute)"
mmdebstrap --mode=$mode --variant=minbase --format=tar --include=python3,python3-pip,python3-venv \
    --keyring="$keyring" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap \
        "$1"/etc/resolv.conf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED' \
    --customize-hook='echo anyvisor >"$1"/etc/hostname; echo "127.0.0.1 localhost anyvisor" >"$1"/etc/hosts' \
    bookworm "$work/root.tar" - <"$work/sources" >"$work/mmdebstrap.log" 2>&1 || {
    sed -E 's,[a-z]+://[^ ]+,(mirror),g' "$work/mmdebstrap.log" | tail -n 15 >&2
    die "mmdebstrap failed"
}
python=$(tar -tf "$work/root.tar" | sed -n 's,^\./usr/bin/python\(3\.[0-9]*\)$,\1,p' | head -n 1)
[ -n "$python" ] || die "the new system has no Python"

mkdir "$work/root"
# Inside one name space: the tree's owners mean something only there. dev/* comes from the guest's kernel.
export disk_tree="$work/root" root_tar="$work/root.tar" disk_image="$files/root.raw" common="$guest/images/common.sh"
as_mapped_root sh -euc '
    . "$common"
    tar -C "$disk_tree" -xpf "$root_tar" --numeric-owner --exclude="./dev/*"
    empty_disk "$disk_image" 3G -d "$disk_tree"
    rm -rf "$disk_tree"'
cat >"$files/image.json" <<END
{
  "name": "debian-python",
  "format": "raw",
  "disk": "root.raw",
  "kernel": "vmlinuz",
  "initrd": "initrd",
  "commandLine": "$command_line anyvisor.root=anyvisor-root",
  "python": {
    "version": "$python",
    "abi": "cp$(echo "$python" | tr -d .)",
    "platforms": ["manylinux_2_36_x86_64", "manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64", "any"]
  },
  "memoryMinimumMiB": 256,
  "kernelVersion": "$release"
}
END
finish
