#!/bin/bash
# Makes the VirtualBox lab: a Debian sid root folder with VirtualBox, without its kernel module (driverless.c), and a libvirt ported to it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB_NAME=virtualbox
. "$here/../common.sh"
stamp=$(lab_stamp "$here/build.sh" "$here/driverless.c" "$here"/libvirt/*)
current() { [ -d "$LAB_DIR/rootfs" ] && [ "$(cat "$LAB_DIR/stamp" 2>/dev/null)" = "$stamp" ]; }
current && exit 0
lab_lock
current && exit 0                      # another build has just made it
lab_need mmdebstrap=mmdebstrap flock=util-linux gcc=gcc ip=iproute2
start=$SECONDS
root=$LAB_DIR/rootfs.new
rm -rf --one-file-system "$LAB_DIR/rootfs" "$root" "$LAB_DIR/stamp"
# A mirror that is a copy of some day is past its date; its signatures are looked at all the same.
mmdebstrap --mode=root --variant=apt --architectures=amd64 \
    --include=virtualbox,libvirt-daemon,libvirt-daemon-driver-vbox,libvirt-clients,e2fsprogs,xorriso,isolinux,syslinux-common,procps,mount \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    sid "$root" "deb [check-valid-until=no] $(lab_mirror) sid main contrib" >"$LAB_DIR/build.log" 2>&1 ||
    { tail -n 30 "$LAB_DIR/build.log" >&2; lab_die "mmdebstrap failed"; }
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/apt
rm -f "$LAB_DIR/build.log"             # it names the mirror
mkdir -p "$root/share" "$root/out"
echo lab-virtualbox >"$root/etc/hostname"
printf '127.0.0.1 localhost lab-virtualbox\n' >"$root/etc/hosts"
mv "$root/usr/lib/virtualbox/VBoxHeadless" "$root/usr/lib/virtualbox/VBoxHeadless.hardened"
gcc -O1 -Wall -Werror -o "$root/usr/lib/virtualbox/VBoxHeadless" "$here/driverless.c" -ldl
"$here/libvirt/build.sh" "$root"
mv "$root" "$LAB_DIR/rootfs"
echo "$stamp" >"$LAB_DIR/stamp"
# Once for all machines of this root: no virtualization of the processor, all of a guest by the interpreter.
LAB_KEEP=1 LAB_SHARE='' LAB_OUT='' "$here/run.sh" '
    cd /usr/lib/virtualbox
    ./VBoxManage -q setextradata global VBoxInternal/HM/FallbackToIEM 1
    ./VBoxManage -q setextradata global VBoxInternal/EM/IemExecutesAll 1
    ./VBoxManage --version' >&2 || { rm -f "$LAB_DIR/stamp"; lab_die "VirtualBox's settings cannot be made"; }
lab_say "built in $((SECONDS - start)) s: $(du -sh "$LAB_DIR" | cut -f1) in $LAB_DIR"
