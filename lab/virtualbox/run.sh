#!/bin/bash
# run.sh COMMAND...: runs COMMAND in the VirtualBox lab as root, in /share, without a network. One COMMAND word is shell text. All mounts
# and processes of the lab are in name spaces of their own and gone when it ends; what it writes to its root is gone too.
# Settings: LAB_CACHE, LAB_SHARE, LAB_OUT, LAB_TIMEOUT, LAB_KEEP as in ../common.sh. Builds the lab when it is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB_NAME=virtualbox
. "$here/../common.sh"
[ "${LAB_KEEP:-0}" = 1 ] || "$here/build.sh" >&2
[ $# -gt 0 ] || lab_die "no command given"
lab_tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/lab.XXXXXX")
trap lab_clean EXIT
trap 'exit 130' INT TERM HUP
mkdir -p "$lab_tmp/root" "$lab_tmp/empty"
export LAB_DIR lab_tmp LAB_KEEP LAB_SHARE=${LAB_SHARE:-$lab_tmp/empty} LAB_OUT=${LAB_OUT:-$lab_tmp/empty}
mkdir -p "$LAB_OUT"
[ $# != 1 ] || set -- bash -c "$1"
rc=0
timeout --foreground -k 10 "${LAB_TIMEOUT:-900}" \
    unshare --mount --pid --ipc --net --uts --fork --kill-child --propagation private bash -euc '
    root=$lab_tmp/root
    if [ "${LAB_KEEP:-0}" = 1 ]; then
        mount --bind "$LAB_DIR/rootfs" "$root"
    else
        # Writes go to memory, so every run starts from the same root.
        mkdir "$lab_tmp/over"
        mount -t tmpfs over "$lab_tmp/over"
        mkdir "$lab_tmp/over/upper" "$lab_tmp/over/work"
        mount -t overlay -o "lowerdir=$LAB_DIR/rootfs,upperdir=$lab_tmp/over/upper,workdir=$lab_tmp/over/work" root "$root"
    fi
    for place in tmp var/tmp run dev/shm; do [ "$place" = dev/shm ] && mount --rbind /dev "$root/dev"; mount -t tmpfs tmpfs "$root/$place"; done
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys" -o ro
    mount --bind "$LAB_SHARE" "$root/share"
    mount --bind "$LAB_OUT" "$root/out"
    hostname lab-virtualbox
    ip link set lo up
    cd "$root"
    exec chroot . /usr/bin/env -i HOME=/root USER=root LOGNAME=root LANG=C.UTF-8 TERM=dumb VBOX_LOG_DEST=nofile \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c '\''cd /share; "$@"; exit $?'\'' lab "$@"' lab "$@" </dev/null || rc=$?
exit "$rc"
