# common.sh, for the labs: makes the disk image of a nested host from Debian packages, and boots it under QEMU's TCG (no VT-x,
# no kernel module, no network) to run one command in it. To be sourced by bash, after LAB_NAME is set; then come lab_build_*
# (build.sh) or lab_run (run.sh).
#
# Settings (environment), all optional:
#   LAB_CACHE    where images are kept                          (default ~/.cache/anyvisor-lab)
#   LAB_SHARE    host folder copied into the lab as /share      (default: an empty folder)
#   LAB_OUT      host folder that receives the lab's /out       (default: results are dropped)
#   LAB_LOG      file that receives the kernel/Xen console      (default: shown only when the lab fails)
#   LAB_TIMEOUT  seconds before the lab is killed, status 124   (default 900)
#   LAB_MEM      MiB of memory of the lab machine               (default: the lab's own)
#   LAB_OUT_MIB  size of the /out disk in MiB                   (default 512)
#   LAB_KEEP     1 = write to the cached image itself           (default 0: every run starts from the same image)
set -euo pipefail

LAB_CACHE=${LAB_CACHE:-${HOME:-/root}/.cache/anyvisor-lab}
LAB_DIR=$LAB_CACHE/$LAB_NAME
LAB_FORMAT=1            # raise it when the layout of the image changes: older images are then rebuilt

lab_say() { printf '%s: %s\n' "lab/$LAB_NAME" "$*" >&2; }
lab_die() { lab_say "$*"; exit 125; }

# lab_need COMMAND=PACKAGE...: install the packages of the commands this machine lacks
lab_need() {
    local p miss=()
    for p; do command -v "${p%%=*}" >/dev/null || [ -e "/usr/sbin/${p%%=*}" ] || miss+=("${p#*=}"); done
    [ ${#miss[@]} = 0 ] && return 0
    lab_say "installing ${miss[*]}"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${miss[@]}"; } >&2
}

# The machine's own Debian mirror (never written anywhere: the image's sources.list is emptied)
lab_mirror() { sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n1; }
lab_suite()  { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# lab_build_root PACKAGES MODULES: $LAB_DIR/rootfs from Debian packages; of the kernel's modules only the named
# ones and what they need are kept (the full set is 400 MB)
lab_build_root() {
    local packages=$1 modules=$2 root=$LAB_DIR/rootfs.new kver m f
    rm -rf "$root" "$LAB_DIR/rootfs"
    mkdir -p "$LAB_DIR"
    # INITRD=No: no initramfs of Debian's (ours is made by lab_build_initrd)
    # policy-rc.d: no service is started while the packages are set up
    INITRD=No mmdebstrap --mode=root --variant=minbase --include="$(echo $packages | tr ' ' ,)" \
        --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
        --dpkgopt='path-exclude=/usr/include/*' \
        --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
        "$(lab_suite)" "$root" "$(lab_mirror)" >"$LAB_DIR/build.log" 2>&1 ||
        { tail -n 30 "$LAB_DIR/build.log" >&2; lab_die "mmdebstrap failed"; }
    : >"$root/etc/apt/sources.list"; rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/apt "$root"/etc/apt/sources.list.d/*
    rm -f "$LAB_DIR/build.log"           # it names the mirror
    kver=$(ls "$root/lib/modules")
    for m in $modules; do modprobe -d "$root" -S "$kver" --show-depends "$m" 2>/dev/null || true; done |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$LAB_DIR/keep"
    find "$root/lib/modules/$kver" -name '*.ko' | sed 's,//*,/,g' | sort -u |
        comm -23 - <(sed 's,//*,/,g' "$LAB_DIR/keep" | sort -u) | xargs -r rm -f
    rm -f "$LAB_DIR/keep"
    find "$root/lib/modules/$kver" -type d -empty -delete
    depmod -b "$root" "$kver"
    rm -f "$root"/boot/initrd* "$root"/boot/System.map* "$root"/boot/*.efi
    mkdir -p "$root/share" "$root/out"
    cp "$root/boot/vmlinuz-$kver" "$LAB_DIR/vmlinuz"
    echo lab-"$LAB_NAME" >"$root/etc/hostname"
    printf '127.0.0.1 localhost lab-%s\n' "$LAB_NAME" >"$root/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    mv "$root" "$LAB_DIR/rootfs"
}

# lab_build_initrd MODULES: $LAB_DIR/initrd.gz = busybox + the modules that reach the root disk
lab_build_initrd() {
    local root=$LAB_DIR/rootfs kver d m
    kver=$(ls "$root/lib/modules")
    d=$(mktemp -d "$LAB_DIR/initrd.XXXXXX")
    mkdir -p "$d"/{bin,dev,lib,newroot}
    cp "$root/bin/busybox" "$d/bin/busybox"
    : >"$d/lib/order"
    for m in $1; do
        modprobe -d "$root" -S "$kver" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
    done | awk '!seen[$0]++' | while read -r m; do
        cp "$m" "$d/lib/"; basename "$m" >>"$d/lib/order"
    done
    cat >"$d/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs d /dev
for m in $($b cat /lib/order); do $b insmod /lib/$m; done
$b mount -t ext4 /dev/vda /newroot || { $b echo "lab: no root disk"; $b poweroff -f; }
$b mount -o move /dev /newroot/dev
exec $b switch_root /newroot /lab-init
INIT
    chmod 755 "$d/init"
    (cd "$d" && find . | cpio -o -H newc --quiet | gzip -9) >"$LAB_DIR/initrd.gz"
    rm -rf "$d"
}

# lab_build_agent FILE: /lab-init of the image = the part common to all labs with the lab's own start-up (FILE)
# in the middle. It is process 1.
lab_build_agent() {
    local root=$LAB_DIR/rootfs
    cp "$1" "$root/lab-setup"
    cat >"$root/lab-init" <<'AGENT'
#!/bin/bash
# process 1 of the lab: mounts, the lab's services (/lab-setup), the command (/out/.lab/cmd), power off
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
mount -t proc p /proc; mount -t sysfs s /sys; mount -t tmpfs t /tmp; mount -t tmpfs r /run
mkdir -p /dev/shm /dev/pts /run/lock; mount -t devpts -o gid=5,mode=620 devpts /dev/pts; mount -t tmpfs m /dev/shm
ln -sfn /proc/self/fd /dev/fd; ln -sfn fd/0 /dev/stdin; ln -sfn fd/1 /dev/stdout; ln -sfn fd/2 /dev/stderr
mount -t cgroup2 c /sys/fs/cgroup
hostname "$(cat /etc/hostname)"; ip link set lo up
mount -t ext4 /dev/vdb /share; mount -t ext4 /dev/vdc /out
modprobe virtio_console
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /dev/vport*p1 ] && break; sleep 0.2; done
port=$(echo /dev/vport*p1)
. /lab-setup >/run/lab-setup.log 2>&1
echo "lab: services up at $(cut -d' ' -f1 /proc/uptime) s"; cat /run/lab-setup.log
cp /run/lab-setup.log /out/.lab/setup.log
(
    exec </dev/null >"$port" 2>&1
    cd /share
    exec setsid bash /out/.lab/cmd
)
echo $? >/out/.lab/rc
cp /proc/uptime /out/.lab/uptime
[ ! -s /var/log/libvirt/libvirtd.log ] || cp /var/log/libvirt/libvirtd.log /out/.lab/
sync; umount /out || mount -o remount,ro /out; mount -o remount,ro /
echo s >/proc/sysrq-trigger; echo o >/proc/sysrq-trigger; sleep 60
AGENT
    chmod 755 "$root/lab-init"
}

# lab_mkfs FOLDER FILE MIB: an ext4 image (sparse) that holds a copy of FOLDER; owners and modes are kept
lab_mkfs() { mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$1" "$2" "$3M" >/dev/null; }

# lab_build_disk FREE_MIB: $LAB_DIR/root.ext4 from the root tree, sparse
lab_build_disk() {
    local used
    used=$(du -sm "$LAB_DIR/rootfs" | cut -f1)
    rm -f "$LAB_DIR/stamp"
    lab_mkfs "$LAB_DIR/rootfs" "$LAB_DIR/root.ext4.new" $((used * 11 / 10 + $1))
    rm -rf "$LAB_DIR/rootfs"
    mv "$LAB_DIR/root.ext4.new" "$LAB_DIR/root.ext4"
}

# An image is current when its stamp holds the checksum of the scripts that made it
lab_stamp()   { { echo $LAB_FORMAT; cat "$@"; } | sha256sum | cut -d' ' -f1; }
lab_current() { [ -s "$LAB_DIR/root.ext4" ] && [ "$(cat "$LAB_DIR/stamp" 2>/dev/null)" = "$1" ]; }
# One build at a time in one cache
lab_lock()    { mkdir -p "$LAB_DIR"; exec 8>"$LAB_DIR/lock"; flock 8; }

lab_tmp='' lab_pids=''
lab_clean() {
    local p
    for p in $lab_pids; do kill "$p" 2>/dev/null || true; done
    lab_pids=
    [ -z "$lab_tmp" ] || rm -rf "$lab_tmp"
}

# lab_run QEMU_ARGS... -- COMMAND...: boot, run, collect. One COMMAND word is shell text; several are one command
# line, each word quoted. Returns the command's status; 124 = out of time, 125 = the lab itself failed.
#
# Disks: vda = the image (writes go to a temporary file unless LAB_KEEP=1), vdb = copy of $LAB_SHARE, vdc = /out,
# which also carries the command in (/out/.lab/cmd) and its status out (/out/.lab/rc). The command's output comes
# over a virtio-serial port: it is faster than an emulated UART and holds none of the kernel's messages.
lab_run() {
    local qemu=() tmp rc qpid catpid wpid mib share snap=on
    while [ $# -gt 0 ] && [ "$1" != -- ]; do qemu+=("$1"); shift; done
    shift
    [ $# -gt 0 ] || lab_die "no command given"
    [ "${LAB_KEEP:-0}" = 0 ] || snap=off
    lab_tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/lab.XXXXXX"); tmp=$lab_tmp
    trap lab_clean EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$tmp/out/.lab" "$tmp/empty"
    if [ $# = 1 ]; then printf '%s\n' "$1"; else printf '%q ' "$@"; echo; fi >"$tmp/out/.lab/cmd"
    share=${LAB_SHARE:-$tmp/empty}
    mib=$(du -sm --apparent-size "$share" | cut -f1)
    lab_mkfs "$share" "$tmp/share.ext4" $((mib * 12 / 10 + 64)) || lab_die "cannot pack $share"
    lab_mkfs "$tmp/out" "$tmp/out.ext4" "${LAB_OUT_MIB:-512}"
    mkfifo "$tmp/fifo"
    cat "$tmp/fifo" & catpid=$!
    qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none \
        -chardev "file,id=con,path=$tmp/console" -serial chardev:con \
        -drive "file=$LAB_DIR/root.ext4,format=raw,if=virtio,cache=unsafe,snapshot=$snap" \
        -drive "file=$tmp/share.ext4,format=raw,if=virtio,cache=unsafe" \
        -drive "file=$tmp/out.ext4,format=raw,if=virtio,cache=unsafe" \
        -device virtio-serial -chardev "file,id=out,path=$tmp/fifo" -device virtserialport,chardev=out,name=lab.out \
        "${qemu[@]}" </dev/null 2>"$tmp/qemu.err" & qpid=$!
    ( sleep "${LAB_TIMEOUT:-900}" & s=$!; trap 'kill $s; exit' TERM; wait $s; : >"$tmp/late"; kill "$qpid" ) \
        </dev/null >/dev/null 2>&1 & wpid=$!
    lab_pids="$qpid $catpid $wpid"
    wait "$qpid" 2>/dev/null || true
    lab_pids="$catpid $wpid"
    exec 9<>"$tmp/fifo"; exec 9>&-      # should QEMU have died before it opened the fifo, this lets cat end
    wait "$catpid" 2>/dev/null || true
    lab_pids=
    kill "$wpid" 2>/dev/null || true
    rc=$(debugfs -R 'cat /.lab/rc' "$tmp/out.ext4" 2>/dev/null || true)
    if [ -e "$tmp/late" ]; then rc=124; lab_say "out of time"; elif [ -z "$rc" ]; then rc=125; lab_say "the lab did not finish"; fi
    if [ -n "${LAB_OUT:-}" ]; then
        mkdir -p "$LAB_OUT"
        # "rdump / DIR" copies what is below / into DIR
        debugfs -R "rdump / \"$LAB_OUT\"" "$tmp/out.ext4" >/dev/null 2>&1 || true
        rmdir "$LAB_OUT/lost+found" 2>/dev/null || true
    fi
    [ -z "${LAB_LOG:-}" ] || cp "$tmp/console" "$LAB_LOG"
    if [ "$rc" = 125 ] || [ "$rc" = 124 ]; then tail -n 40 "$tmp/console" >&2 || true; cat "$tmp/qemu.err" >&2; fi
    rm -rf "$tmp"
    return "$rc"
}
