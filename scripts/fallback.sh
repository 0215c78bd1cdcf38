#!/usr/bin/env bash
# fallback.sh ANYVISOR [MIB]: breaks the backend in use in the middle of an upload and of a download; the next one of the chain
# must finish the operation, the file must be identical, the file system clean, nothing left behind.
anyvisor=$(realpath "$1") mib=${2:-256}
source "$(dirname "$0")/common.sh"

head -c "${mib}M" /dev/urandom >"$work/big"
sum=$(sha256sum <"$work/big")
truncate -s $((mib + 200))M "$work/clean.raw"
mke2fs -q -F -t ext4 "$work/clean.raw"

fuse_server='anyvisor-vdfuse -'
moved() { # PID: bytes it has written or read
    awk '/^(rchar|wchar)/ {n += $2} END {print n + 0}' "/proc/$1/io" 2>/dev/null || echo 0
}
# Waits until a process of the pattern has moved a tenth of the file, then breaks the victims; leaves "broken" when it was in time.
break_in_the_middle() { # PATTERN VICTIM HOW
    local pattern=$1 victim=$2 how=$3 p victims
    for _ in $(seq 3000); do
        for p in $(mine "$pattern"); do
            [ "$(moved "$p")" -gt $((mib * 100000)) ] || continue
            victims=$(mine "$victim")
            kill -STOP $victims 2>/dev/null || return 0
            [ "$(moved "$p")" -lt $((mib * 1000000)) ] && echo "$how" >"$work/broken" || how="too late"
            case $how in
            kill) kill -9 $victims ;;
            stop) ;;
            babble)
                # What it answers on: a plugin has moved its pipes up, the FUSE server has a socket.
                channels="100 101"
                [ "$victim" != "$fuse_server" ] || channels=0
                for p in $victims; do "$project/scripts/babble" "$p" $channels; done
                kill -CONT $victims
                ;;
            *) kill -CONT $victims ;;
            esac 2>/dev/null || true
            return 0
        done
        sleep 0.01
    done
}
check() { # NAME STATUS EXPECTED-REJECTED
    local name=$1 status=$2 rejected=$3 problem
    problem=$(
        [ -e "$work/broken" ] || echo "nothing was broken in time"
        [ "$status" = 0 ] || echo "exit $status: $(tail -n 3 "$work/err")"
        grep -q "$rejected" "$work/err" || echo "the result does not name $rejected: $(tail -n 2 "$work/err")"
        [ -e "$work/result" ] && [ "$(sha256sum <"$work/result")" = "$sum" ] || echo "the file differs"
        e2fsck -fn "$work/t.raw" >"$work/fsck" 2>&1 || echo "e2fsck: $(tail -n 3 "$work/fsck")"
        left_over
    )
    verdict "$name" "$problem"
    rm -f "$work/broken" "$work/result"
    "$anyvisor" reap >/dev/null 2>&1 || true
    for p in $(mine anyvisor); do kill -9 "$p" 2>/dev/null || true; done
}
# Runs a command on a copy of an image while something is broken; again when it was over before.
broken() { # IMAGE PATTERN VICTIM HOW COMMAND...: leaves its exit status in $status
    local image=$1 pattern=$2 victim=$3 how=$4
    shift 4
    for _ in 1 2 3 4 5; do
        status=0
        cp --sparse=always "$image" "$work/t.raw"
        rm -f "$work/result"
        break_in_the_middle "$pattern" "$victim" "$how" &
        "$anyvisor" "$@" 2>"$work/err" || status=$?
        kill $! 2>/dev/null || true
        wait $! || true
        [ ! -e "$work/broken" ] || return 0
    done
}
upload() { # NAME CHAIN PATTERN VICTIM HOW
    broken "$work/clean.raw" "$3" "$4" "$5" disk put "$work/t.raw" "$work/big" /big --disk "$2"
    debugfs -R "dump /big $work/result" "$work/t.raw" 2>/dev/null
    check "upload, $1" "$status" "${2%%,*}"
}
download() { # NAME CHAIN PATTERN VICTIM HOW
    broken "$work/full.raw" "$3" "$4" "$5" disk get "$work/t.raw" /big "$work/result" --disk "$2"
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
        upload "vdfuse's FUSE server: $how" vdfuse,direct anyvisor-vdfuse "$fuse_server" $how
        download "vdfuse's FUSE server: $how" vdfuse,direct anyvisor-vdfuse "$fuse_server" $how
    done
else
    echo "fallback: SKIPPED vdfuse: /dev/fuse cannot be opened by this user"
fi

# --- none is left: exit 16, and the image as before
broken "$work/clean.raw" anyvisor-direct anyvisor-direct kill disk put "$work/t.raw" "$work/big" /big --disk direct
verdict "none is left" "$(
    [ "$status" = 16 ] || echo "exit $status, not 16: $(tail -n 3 "$work/err")"
    # Data may stand in blocks that are free; all that is not free must be as before.
    for image in clean t; do e2image -r "$work/$image.raw" "$work/$image.metadata" 2>/dev/null; done
    cmp "$work/clean.metadata" "$work/t.metadata" 2>&1
    left_over
)"
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
summary
