#!/bin/bash
# Makes the Xen lab: Debian's Xen hypervisor with a Debian dom0 that runs libvirtd (libxl driver).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB_NAME=xen
. "$here/../common.sh"
stamp=$(lab_stamp "$here/../common.sh" "$here/build.sh" "$here/setup.sh")
lab_current "$stamp" && exit 0
lab_lock
lab_current "$stamp" && exit 0         # another build has just made it
lab_need mmdebstrap=mmdebstrap flock=util-linux mke2fs=e2fsprogs debugfs=e2fsprogs qemu-system-x86_64=qemu-system-x86 cpio=cpio \
    modprobe=kmod depmod=kmod
start=$SECONDS
lab_build_root "linux-image-amd64 xen-hypervisor-4.17-amd64 xen-utils-4.17 xenstore-utils qemu-system-xen
    libvirt-daemon libvirt-daemon-driver-xen libvirt-clients dbus kmod iproute2 procps busybox-static
    e2fsprogs qemu-utils udev fuse3 libfuse3-3" \
    "virtio_pci virtio_blk virtio_console ext4 crc32c_generic loop xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xen-blkback xen-blkfront xenfs"
r=$LAB_DIR/rootfs
zcat "$r"/boot/xen-4.17-amd64.gz >"$LAB_DIR/xen"
# Only the libxl and the storage/secret drivers: the others need what this dom0 lacks (udev's database, a firewall)
# and a libvirtd whose driver fails to start exits
for d in network nwfilter interface nodedev qemu lxc vbox; do
    rm -f "$r"/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_$d.so
done
# Xen hides SEP from AMD CPUs and TCG has no VME: every CPU model of libvirt's wants one of the two, and its libxl
# driver does not start without a model for the host ("cannot create capabilities for libxenlight"). So the
# simplest model, 486, gets by without VME here.
sed -i "/feature name='vme'/d" "$r"/usr/share/libvirt/cpu_map/x86_486.xml
lab_build_initrd "virtio_pci virtio_blk ext4 crc32c_generic"
lab_build_agent "$here/setup.sh"
lab_build_disk 2048
echo "$stamp" >"$LAB_DIR/stamp"
LAB_SHARE='' LAB_OUT='' "$here/run.sh" true || { rm -f "$LAB_DIR/stamp"; lab_die "the first boot failed"; }
lab_say "built in $((SECONDS - start)) s: $(du -sh "$LAB_DIR" | cut -f1) in $LAB_DIR"
