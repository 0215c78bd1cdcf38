# Shared by the image recipes; sourced, POSIX sh. The caller has `set -eu` and calls `begin NAME "$@"` first.
#
# A recipe is called as `build.sh OUTDIR [CACHEDIR]`. It works in a hidden folder beside OUTDIR and moves that into place
# at the very end, so a build that is killed half-way leaves nothing that looks complete. Downloads are kept below
# CACHEDIR/downloads. Progress goes to stderr. Nothing of the host but its package sources and tools is used, and the
# address of no mirror gets into an image.

say() { echo "$image: $*" >&2; }

die() {
    echo "$image: error: $*" >&2
    exit 1
}

# need PROGRAM PACKAGE: the program must exist.
need() {
    command -v "$1" >/dev/null || die "the program '$1' is missing; install the package $2 (make setup)"
}

# begin NAME OUTDIR [CACHEDIR]: sets $image $out $work $files (what becomes OUTDIR) and $downloads.
begin() {
    image=$1
    [ $# -ge 2 ] && [ $# -le 3 ] || die "usage: build.sh OUTDIR [CACHEDIR]"
    PATH=$PATH:/usr/sbin:/sbin
    export PATH LC_ALL=C
    umask 022
    case $2 in /*) out=$2 ;; *) out=$PWD/$2 ;; esac
    out=${out%/}
    parent=${out%/*}
    mkdir -p "${parent:-/}"
    sweep
    work=$(mktemp -d "$parent/.$image-build.$$.XXXXXX")
    # Subordinate users (mmdebstrap --mode=unshare) must be able to pass.
    chmod 755 "$work"
    trap 'remove_tree "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    files=$work/files
    mkdir "$files"
    downloads=${3:-$work}/downloads
    mkdir -p "$downloads"
    guest=$(cd "$(dirname "$0")/../.." && pwd)
    # One fixed time for everything that would carry today's.
    SOURCE_DATE_EPOCH=1735689600
    export SOURCE_DATE_EPOCH
}

# Removes what builds of this image left here that were killed: their process number is in the folder's name.
sweep() {
    for left in "$parent/.$image-build."*; do
        [ -d "$left" ] && [ -O "$left" ] || continue
        builder=${left#"$parent/.$image-build."}
        grep -qs build.sh "/proc/${builder%%.*}/cmdline" || remove_tree "$left"
    done
}

# A tree of mmdebstrap's, built by an ordinary user, belongs to other numbers and can only be removed from a name space.
remove_tree() {
    rm -rf "$1" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$1" 2>/dev/null || rm -rf "$1" || true
}

# finish: image.json stands in $files; the folder takes its place, whole.
finish() {
    [ -s "$files/image.json" ] || die "no image.json was written"
    sync -f "$files" 2>/dev/null || sync
    if [ -e "$out" ]; then mv "$out" "$work/old"; fi
    mv "$files" "$out"
    say "built: $(du -sh "$out" | cut -f1) on disk"
}

# fetch_package NAME: sets $package to a .deb of this name from the machine's own package sources, checked by apt.
fetch_package() {
    need apt-get apt
    version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1)
    [ -n "$version" ] || die "the package sources of this machine do not offer '$1'; run as root: apt-get update"
    package=$downloads/${1}_$(printf %s "$version" | tr ':' '%').deb
    [ ! -s "$package" ] || return 0
    say "downloading $1 $version"
    fetch_dir=$(mktemp -d "$work/fetch.XXXXXX")
    # apt as root downloads as the user _apt, or warns.
    [ "$(id -u)" != 0 ] || chmod 777 "$fetch_dir"
    if ! (cd "$fetch_dir" && apt-get -q download "$1=$version") >"$work/apt.log" 2>&1; then
        sed -E 's,[a-z]+://[^ ]+,(mirror),g' "$work/apt.log" >&2
        die "$1 could not be downloaded; if it was not found, run as root: apt-get update"
    fi
    mv "$fetch_dir"/*.deb "$package.part.$$"
    mv "$package.part.$$" "$package"
}

# kernel_and_initramfs: writes $files/vmlinuz and $files/initrd: Debian's cloud kernel, and busybox with the disk
# drivers, `init`, `wake` and the agent.
kernel_and_initramfs() {
    need cpio cpio
    need dpkg-deb dpkg
    need modinfo kmod
    meta=linux-image-cloud-amd64
    kernel_package=$(apt-cache depends --no-recommends --no-suggests "$meta" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[^ <]*\)$/\1/p' | head -n 1)
    [ -n "$kernel_package" ] || die "the package sources of this machine do not offer '$meta'; run as root: apt-get update"
    fetch_package "$kernel_package"
    release=${kernel_package#linux-image-}
    kernel_dir=$work/kernel
    mkdir "$kernel_dir"
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$kernel_dir" --wildcards \
        "./boot/vmlinuz-$release" './lib/modules/*/kernel/drivers/*' './lib/modules/*/kernel/lib/*' \
        './lib/modules/*/kernel/crypto/*' './lib/modules/*/modules.*' || die "$package cannot be unpacked"
    mv "$kernel_dir/boot/vmlinuz-$release" "$files/vmlinuz"
    fetch_package busybox-static
    mkdir "$work/busybox"
    dpkg-deb -x "$package" "$work/busybox"

    tree=$work/initramfs
    mkdir -p "$tree/bin" "$tree/etc" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/usr" "$tree/root" "$tree/var"
    cp "$work/busybox/bin/busybox" "$tree/bin/busybox"
    for applet in $("$tree/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$tree/bin/$applet"
    done
    ln -s bin "$tree/sbin"
    ln -s ../bin "$tree/usr/bin"
    ln -s ../bin "$tree/usr/sbin"
    ln -s ../tmp "$tree/var/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    echo '127.0.0.1 localhost anyvisor' >"$tree/etc/hosts"
    depmod -b "$kernel_dir" "$release"
    module_group virtio virtio_pci virtio_blk virtio_scsi sd_mod virtio_rng
    module_group ata ata_piix sd_mod
    module_group xen xen-blkfront
    install -m 755 "$guest/agent" "$tree/agent"
    find_compiler
    "$compiler" -static -nostdlib -ffreestanding -fno-stack-protector -Os -s -o "$tree/wake" "$guest/wake.c" ||
        die "$guest/wake.c cannot be compiled"
    install -m 755 "$guest/init" "$tree/init"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && find . | sort | cpio --quiet -o -H newc -R 0:0 --reproducible) >"$files/initrd"
}

# find_compiler: sets $compiler.
find_compiler() {
    compiler=clang
    command -v clang >/dev/null && return
    compiler=gcc
    need gcc gcc
}

# empty_disk FILE SIZE [MKE2FS OPTIONS]: a sparse raw image with one ext4 file system over all of it, label anyvisor-root.
# No journal: the disk is disposable. Fixed identifiers, so the same content gives the same image.
empty_disk() {
    disk_file=$1
    truncate -s "$2" "$disk_file"
    shift 2
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -L anyvisor-root -O ^has_journal \
        -U 7ab0c9a4-2f5f-4f7e-9f3b-0a6d5e2c1b01 -E hash_seed=7ab0c9a4-2f5f-4f7e-9f3b-0a6d5e2c1b02,lazy_itable_init=1 \
        "$@" "$disk_file"
}

# The kernel command line of every image here. Quiet, because a serial port is slow; a panic resets the machine at once,
# which ends it; the guest runs foreign code as root anyway, so it does without mitigations.
command_line='console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on'

# module_group GROUP MODULE...: the drivers and all they depend on, with the order in which to load them.
module_group() {
    group=$tree/modules/$1
    shift
    mkdir -p "$group"
    for module; do
        # modprobe prints `insmod PATH`, dependencies first, or `builtin NAME`.
        modprobe -d "$kernel_dir" -S "$release" --show-depends "$module" >"$work/modules.list" ||
            die "the kernel $release has no driver '$module'"
        sed -n 's/^insmod \([^ ]*\).*/\1/p' "$work/modules.list"
    done | awk '!seen[$0]++' | while read -r path; do
        strip --strip-debug -o "$group/${path##*/}" "$path" 2>/dev/null || cp "$path" "$group/${path##*/}"
        echo "${path##*/}" >>"$group/order"
    done
    [ -s "$group/order" ] || die "no driver of the group ${group##*/} was found"
}
