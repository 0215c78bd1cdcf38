#!/bin/bash
# Makes the KVM lab: a Debian machine whose emulated CPU has AMD-V, with kvm-amd and libvirtd (qemu driver).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB_NAME=kvm
. "$here/../common.sh"
stamp=$(lab_stamp "$here/../common.sh" "$here/build.sh" "$here/setup.sh")
lab_current "$stamp" && exit 0
lab_lock
lab_current "$stamp" && exit 0         # another build has just made it
lab_need mmdebstrap=mmdebstrap flock=util-linux mke2fs=e2fsprogs debugfs=e2fsprogs qemu-system-x86_64=qemu-system-x86 cpio=cpio \
    modprobe=kmod depmod=kmod
start=$SECONDS
lab_build_root "linux-image-cloud-amd64 qemu-system-x86 qemu-utils libvirt-daemon libvirt-daemon-system
    libvirt-daemon-driver-qemu libvirt-clients dbus kmod iproute2 procps busybox-static
    e2fsprogs fuse3 libfuse3-3" \
    "virtio_pci virtio_blk virtio_console ext4 crc32c_generic loop kvm kvm-amd tun"
r=$LAB_DIR/rootfs
# A libvirtd whose driver fails to start exits: these drivers need udev's database or a firewall
for d in network nwfilter interface nodedev lxc vbox libxl; do
    rm -f "$r"/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_$d.so
done
# QEMU as root, without AppArmor and without a name space of mounts of its own: guests' disks may lie anywhere
cat >>"$r/etc/libvirt/qemu.conf" <<'CONF'
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
CONF
lab_build_initrd "virtio_pci virtio_blk ext4 crc32c_generic"
lab_build_agent "$here/setup.sh"
lab_build_disk 2048
echo "$stamp" >"$LAB_DIR/stamp"
# Boot once, writing to the image: libvirtd then finds what it had to learn about QEMU (two probes, ~8 s under TCG)
LAB_KEEP=1 LAB_SHARE='' LAB_OUT='' "$here/run.sh" true || { rm -f "$LAB_DIR/stamp"; lab_die "the first boot failed"; }
lab_say "built in $((SECONDS - start)) s: $(du -sh "$LAB_DIR" | cut -f1) in $LAB_DIR"
