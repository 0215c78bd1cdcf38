#!/bin/bash
# build.sh ROOT: puts a libvirt into the lab's root, in /opt/libvirt-vbox, whose driver knows the VirtualBox there: libvirt 11.3.0 as in
# Debian trixie, which knows 7.0, with its header written anew from VirtualBox's own type library (header.py), and its code adapted
# (port.py). The compiler and what else that needs stay out of the root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB_NAME=virtualbox
. "$here/../../common.sh"
root=$(realpath "$1")
work=$(mktemp -d "$LAB_DIR/libvirt.XXXXXX")
clean() {
    awk -v work="$work/" 'index($2, work) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount
    rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP
cd "$work"
mkdir -p apt/lists/partial apt/cache/archives/partial tree upper over build
echo "deb-src $(lab_mirror) trixie main" >apt/sources.list
options=(-oDir::Etc::sourcelist="$work/apt/sources.list" -oDir::Etc::sourceparts=/dev/null -oDir::State::Lists="$work/apt/lists"
    -oDir::Cache="$work/apt/cache" -oAcquire::Languages=none -oAcquire::Check-Valid-Until=false)
apt-get "${options[@]}" update >log 2>&1
# A mirror of bookworm may lack the source's description; its archive is what is wanted, and its checksum is known.
apt-get "${options[@]}" source --download-only --allow-unauthenticated libvirt >>log 2>&1 || true
echo "6bcb0c42c4580436fea262ced56f68a6afe20f7390b1bea2116718cc034a0283  libvirt_11.3.0.orig.tar.xz" | sha256sum -c --quiet ||
    { tail -n 20 log >&2; lab_die "libvirt's source cannot be had"; }
tar xf libvirt_11.3.0.orig.tar.xz --no-same-owner
code=libvirt-11.3.0/src/vbox
cp $code/vbox_CAPI_v7_0.h old.h
python3 "$here/header.py" "$root/usr/lib/virtualbox/components/VirtualBox_XPCOM.xpt" old.h $code/vbox_CAPI_v7_0.h >>log
python3 "$here/port.py" $code
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/over" root tree
mount -t proc proc tree/proc
mount --bind /dev tree/dev
mkdir -p tree/build
mount --bind "$work/libvirt-11.3.0" tree/build
cp /etc/resolv.conf tree/etc/
cp /etc/hosts tree/etc/
echo "deb [check-valid-until=no] $(lab_mirror) sid main" >tree/etc/apt/sources.list
in_tree() { chroot tree /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@" >>log 2>&1; }
{
    in_tree apt-get update &&
        in_tree apt-get install -y --no-install-recommends gcc libc6-dev make pkgconf meson ninja-build libxml2-dev libglib2.0-dev \
            libxml2-utils xsltproc python3-docutils libgnutls28-dev libtirpc-dev libjson-c-dev libnl-3-dev libnl-route-3-dev gettext rpcsvc-proto &&
        in_tree meson setup /build/out /build --prefix=/opt/libvirt-vbox --localstatedir=/var -Dauto_features=disabled \
            -Ddriver_vbox=enabled -Ddriver_remote=enabled -Ddriver_libvirtd=enabled -Dlibnl=enabled -Djson_c=enabled -Dtests=disabled \
            -Ddocs=disabled -Dwerror=false -Dgit_werror=disabled -Dinit_script=none -Drunstatedir=/run &&
        in_tree ninja -C /build/out -j "$(nproc)" &&
        in_tree env DESTDIR=/build/put ninja -C /build/out install
} || { tail -n 30 log >&2; lab_die "libvirt cannot be built"; }
cp -a libvirt-11.3.0/put/opt "$root/"
# VirtualBox takes calls from threads of its own making only; the port tells it of the one that there is.
printf 'max_workers=1\nmin_workers=1\nprio_workers=1\n' >"$root/opt/libvirt-vbox/etc/libvirt/libvirtd.conf"
