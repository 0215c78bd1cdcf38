#!/usr/bin/env bash
# fallback.sh ANYVISOR [MIB]: breaks the backend in use in the middle of an upload and of a download; the next one of the chain
# must finish the operation, the file must be identical, the file system clean, nothing left behind.
set -euo pipefail
anyvisor=$1 mib=${2:-256}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
export ANYVISOR_STATE=$work/state
passed=0 failed=0

head -c "${mib}M" /dev/urandom >"$work/big"
sum=$(sha256sum <"$work/big")
truncate -s $((mib + 200))M "$work/clean.raw"
mke2fs -q -F -t ext4 "$work/clean.raw"

# Processes of this test's command that run the program, or all whose command line matches.
mine() { # PATTERN
    local p
    for p in $(pgrep -f -- "$1" || true); do
        [ -r "/proc/$p/environ" ] || continue
        if grep -qzs "^ANYVISOR_JOURNAL=$work/" "/proc/$p/environ"; then echo "$p"; fi
    done
}
moved() { # PID: bytes it has written or read
    awk '/^(rchar|wchar)/ {n += $2} END {print n + 0}' "/proc/$1/io" 2>/dev/null || echo 0
}
# Waits until a process of the pattern has moved a quarter of the file, then breaks the victims.
break_in_the_middle() { # PATTERN VICTIM HOW
    local pattern=$1 victim=$2 how=$3 p
    for _ in $(seq 3000); do
        for p in $(mine "$pattern"); do
            if [ "$(moved "$p")" -gt $((mib * 100000)) ]; then
                for p in $(mine "$victim"); do
                    case $how in
                    kill) kill -9 "$p" ;;
                    stop) kill -STOP "$p" ;;
                    babble) for fd in 100 101 102; do [ ! -w "/proc/$p/fd/$fd" ] || echo 'Segmentation fault (core dumped)' >"/proc/$p/fd/$fd" || true; done ;;
                    esac 2>/dev/null || true
                done
                echo "$how" >"$work/broken"
                return
            fi
        done
        sleep 0.01
    done
}
check() { # NAME STATUS EXPECTED-REJECTED
    local name=$1 status=$2 rejected=$3 verdict=ok
    fault() { [ "$verdict" != ok ] || verdict=$*; }
    [ -e "$work/broken" ] || fault "nothing was broken in time"
    [ "$status" = 0 ] || fault "exit $status: $(tail -n 3 "$work/err")"
    grep -q "$rejected" "$work/err" || fault "the result does not name $rejected: $(tail -n 2 "$work/err")"
    [ -e "$work/result" ] && [ "$(sha256sum <"$work/result")" = "$sum" ] || fault "the file differs"
    e2fsck -fn "$work/t.raw" >"$work/fsck" 2>&1 || fault "e2fsck: $(tail -n 3 "$work/fsck")"
    [ -z "$(ls "$work"/t.raw.redo* 2>/dev/null)" ] || fault "a redo log is left"
    [ -z "$(ls "$work/state/runs" 2>/dev/null)" ] || fault "a run folder is left: $(tail -n 2 "$work/err")"
    [ -z "$(mine anyvisor)" ] || fault "a process is left: $(mine anyvisor)"
    ! grep -q "$work" /proc/mounts || fault "a mount is left"
    if [ "$verdict" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    echo "fallback: $name: $verdict"
    rm -f "$work/broken" "$work/result"
    "$anyvisor" reap >/dev/null 2>&1 || true
    for p in $(mine anyvisor); do kill -9 "$p" 2>/dev/null || true; done
}
upload() { # NAME CHAIN PATTERN VICTIM HOW
    local status=0
    cp --sparse=always "$work/clean.raw" "$work/t.raw"
    break_in_the_middle "$3" "$4" "$5" &
    "$anyvisor" disk put "$work/t.raw" "$work/big" /big --disk "$2" 2>"$work/err" || status=$?
    wait $! || true
    debugfs -R "dump /big $work/result" "$work/t.raw" 2>/dev/null
    check "upload, $1" "$status" "${2%%,*}"
}
download() { # NAME CHAIN PATTERN VICTIM HOW
    local status=0
    cp --sparse=always "$work/full.raw" "$work/t.raw"
    break_in_the_middle "$3" "$4" "$5" &
    "$anyvisor" disk get "$work/t.raw" /big "$work/result" --disk "$2" 2>"$work/err" || status=$?
    wait $! || true
    check "download, $1" "$status" "${2%%,*}"
}

cp --sparse=always "$work/clean.raw" "$work/full.raw"
"$anyvisor" disk put "$work/full.raw" "$work/big" /big --disk direct 2>/dev/null
for how in kill stop babble; do
    upload "direct: $how" direct,vdfuse anyvisor-direct anyvisor-direct $how
    download "direct: $how" direct,vdfuse anyvisor-direct anyvisor-direct $how
done
if [ -w /dev/fuse ]; then
    for how in kill stop babble; do
        upload "vdfuse: $how" vdfuse,direct anyvisor-vdfuse '^[^ ]*anyvisor-vdfuse$' $how
        download "vdfuse: $how" vdfuse,direct anyvisor-vdfuse '^[^ ]*anyvisor-vdfuse$' $how
        [ $how != babble ] || continue
        upload "vdfuse's FUSE server: $how" vdfuse,direct anyvisor-vdfuse 'anyvisor-vdfuse -' $how
        download "vdfuse's FUSE server: $how" vdfuse,direct anyvisor-vdfuse 'anyvisor-vdfuse -' $how
    done
else
    echo "fallback: SKIPPED vdfuse: /dev/fuse cannot be opened by this user"
fi

# --- none is left: exit 16, and the image as before
cp --sparse=always "$work/clean.raw" "$work/t.raw"
status=0
break_in_the_middle anyvisor-direct anyvisor-direct kill &
"$anyvisor" disk put "$work/t.raw" "$work/big" /big --disk direct 2>"$work/err" || status=$?
wait $! || true
"$anyvisor" disk check "$work/t.raw" --disk direct >/dev/null 2>&1 || true
verdict=ok
[ "$status" = 16 ] || verdict="exit $status, not 16: $(tail -n 3 "$work/err")"
debugfs -R "ls /" "$work/t.raw" 2>/dev/null | grep -q big && verdict="the file is in the image"
e2fsck -fn "$work/t.raw" >/dev/null 2>&1 || verdict="the file system is broken"
[ -z "$(ls "$work"/t.raw.redo* 2>/dev/null)" ] || verdict="a redo log is left"
[ -z "$(ls "$work/state/runs" 2>/dev/null)" ] || verdict="a run folder is left"
if [ "$verdict" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
echo "fallback: none is left: $verdict"
rm -f "$work/broken"

# --- no FUSE on this host
if [ "$(id -u)" = 0 ]; then
    cp --sparse=always "$work/clean.raw" "$work/t.raw"
    status=0
    unshare -m sh -c 'mount --bind /dev/null /dev/fuse; exec "$@"' sh \
        "$anyvisor" disk put "$work/t.raw" "$work/big" /big --disk vdfuse,direct 2>"$work/err" || status=$?
    touch "$work/broken"
    debugfs -R "dump /big $work/result" "$work/t.raw" 2>/dev/null
    check "upload, /dev/fuse missing" "$status" vdfuse
else
    echo "fallback: SKIPPED /dev/fuse missing: hiding it needs root"
fi

# --- libguestfs starts an appliance for each, so CI runs a few of them: GUESTFS=all runs all, GUESTFS=none none
guestfs() { # UPLOAD-OR-DOWNLOAD WHOM HOW
    local victim=anyvisor-libguestfs
    [ "$2" = plugin ] || victim='qemu-system.*guestfs'
    $1 "libguestfs' $2: $3" libguestfs,direct anyvisor-libguestfs "$victim" "$3"
}
case ${GUESTFS:-some} in
some)
    guestfs upload plugin kill
    guestfs upload appliance kill
    guestfs download plugin stop
    ;;
all)
    for direction in upload download; do
        for how in kill stop babble; do guestfs $direction plugin $how; done
        for how in kill stop; do guestfs $direction appliance $how; done
    done
    ;;
esac
echo "fallback: $passed passed, $failed failed"
[ "$failed" = 0 ]
