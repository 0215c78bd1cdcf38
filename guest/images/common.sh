# Functions shared by the image recipes. A recipe is called as `build.sh OUTDIR [CACHEDIR]`; it builds beside OUTDIR and
# moves the folder into place when it is whole, so one that was killed leaves nothing that looks finished.
set -eu

say() { echo "image $image_name: $*" >&2; }
fail() { say "$*"; exit 1; }

begin() { # NAME OUTDIR: $build is where to build
    image_name=$1
    out=$2
    [ -n "$out" ] || fail "usage: build.sh OUTDIR [CACHEDIR]"
    mkdir -p "$(dirname "$out")"
    build=$(mktemp -d "$(dirname "$out")/.building-$image_name-XXXXXX")
    trap 'discard' EXIT
    trap 'exit 130' INT TERM HUP
}

discard() {
    # As an ordinary user the tree of another user's numbers can only be removed from inside the name space.
    rm -rf "$build" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$build" 2>/dev/null || :
}

finish() {
    rm -rf "$out"
    mv "$build" "$out"
    trap - EXIT
}

need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || fail "$1 is missing; apt-get install $2"
}

kernel_version() { # the newest cloud kernel that is installed
    ls /boot/vmlinuz-*-cloud-amd64 2>/dev/null | sed 's,.*/vmlinuz-,,' | sort -V | tail -n 1
}

# The kernel and its modules come from Debian's package, as it is installed on this host by `make setup`.
take_kernel() { # puts vmlinuz into $build, sets $kernel
    kernel=$(kernel_version)
    [ -n "$kernel" ] || fail "no cloud kernel on this host; apt-get install linux-image-cloud-amd64"
    [ -r "/boot/vmlinuz-$kernel" ] || fail "/boot/vmlinuz-$kernel cannot be read; chmod 644 it"
    cp "/boot/vmlinuz-$kernel" "$build/vmlinuz"
}

modules_in_order() { # MODULE…: files of the modules and of what they need, what is needed first
    for module; do
        /sbin/modprobe -S "$kernel" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++'
}

make_initramfs() { # GUESTDIR: $build/initrd with busybox, the drivers, init and the agent
    need busybox busybox-static
    need cpio cpio
    tree=$build/tree
    mkdir -p "$tree/bin" "$tree/lib/modules" "$tree/proc" "$tree/sys" "$tree/dev"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    "$tree/bin/busybox" --list >/dev/null || fail "busybox does not run"
    ! ldd "$tree/bin/busybox" >/dev/null 2>&1 || fail "busybox is not static; apt-get install busybox-static"
    ln -s busybox "$tree/bin/sh"
    modules_in_order crc32c_generic virtio_pci virtio_blk >"$tree/lib/virtio"
    modules_in_order crc32c_generic ata_piix sd_mod xen-blkfront >"$tree/lib/other"
    cat "$tree/lib/virtio" "$tree/lib/other" | sort -u | while read -r file; do cp "$file" "$tree/lib/modules/"; done
    cp "$1/init" "$tree/init"
    cp "$1/agent" "$tree/agent"
    chmod 755 "$tree/init" "$tree/agent"
    # Not compressed: under software emulation unpacking costs more than reading.
    (cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio -o0 -H newc -R 0:0 --quiet) >"$build/initrd"
    rm -rf "$tree"
}

# No networking, quiet, and a panic resets the machine at once, which ends it.
command_line='console=ttyS0 quiet loglevel=3 panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on'
