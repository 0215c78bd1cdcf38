#!/usr/bin/env bash
# torture.sh ANYVISOR SEED COUNT: SIGKILLs uploads at random moments; afterwards the image must hold the old or the new
# content, never something between, and its file system must be clean. FORMATS names the formats, DISKS the backends, MIB the size
# of the largest file.
anyvisor=$(realpath "$1") seed=$2 count=$3
source "$(dirname "$0")/common.sh"
set +m
RANDOM=$seed
echo "torture: seed $seed, $count kills for each format and backend"

mkdir -p "$work/old/dir" "$work/new/dir"
for i in $(seq 60); do head -c $((RANDOM * 3)) /dev/urandom >"$work/old/dir/f$i"; head -c $((RANDOM * 3)) /dev/urandom >"$work/new/dir/f$i"; done
for age in old new; do head -c "${MIB:-80}M" /dev/urandom >"$work/$age/big"; done
digest() { (cd "$1" 2>/dev/null && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
old=$(digest "$work/old") new=$(digest "$work/new")

truncate -s 320M "$work/base.raw"; mke2fs -q -F -t ext4 "$work/base.raw"
# A VHD by QEMU's own name and with its right size; a layer by our own reader, since no other tool here knows chains.
flatten() {
    case $1 in
    vhd) qemu-img convert -O raw --image-opts "driver=vpc,force_size_calc=current_size,file.filename=$2" "$3" ;;
    layer) rm -f "$3"; "$anyvisor" disk export "$2" "$3" --format vdi 2>/dev/null ;;
    *) qemu-img convert -f "$1" -O raw "$2" "$3" ;;
    esac
}

olds=0 news=0
torture() { # FORMAT BACKEND
    local kind=$1 disk=$2 format chain whole n
    chain=$disk,direct
    [ "$disk" != direct ] || chain=direct,vdfuse
    format=$kind
    rm -f "$work/base.$kind.clean"
    case $kind in
    vhd) qemu-img convert -f raw -O vpc -o force_size=on "$work/base.raw" "$work/base.$kind.clean" ;;
    layer)
        format=vdi
        qemu-img convert -f raw -O vdi "$work/base.raw" "$work/parent.vdi"
        "$anyvisor" disk put "$work/parent.vdi" "$work/old" /data 2>/dev/null
        "$anyvisor" disk create "$work/base.$kind.clean" --format vdi --parent "$work/parent.vdi"
        parent=$(sha256sum "$work/parent.vdi")
        ;;
    *) qemu-img convert -f raw -O "$format" "$work/base.raw" "$work/base.$kind.clean" ;;
    esac
    [ "$kind" = layer ] || "$anyvisor" disk put "$work/base.$kind.clean" "$work/old" /data --format "$format" 2>/dev/null
    whole=100000
    for _ in 1 2 3; do
        cp "$work/base.$kind.clean" "$work/t.$format"
        started=$(date +%s%N)
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" --disk "$chain" 2>/dev/null
        took=$((($(date +%s%N) - started) / 1000000))
        [ "$took" -ge "$whole" ] || whole=$took
    done
    for n in $(seq "$count"); do
        cp "$work/base.$kind.clean" "$work/t.$format"
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" --disk "$chain" >/dev/null 2>&1 &
        victim=$!
        pause=$((RANDOM % (whole + 1)))
        sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
        # mostly the command and its plugin die together; else only the plugin does, and the next backend takes over
        ((RANDOM % 4 == 0)) || kill -9 "$victim" 2>/dev/null || true
        # the QEMU that reads and writes a foreign format, or is the appliance, dies with its user or alone
        doomed="anyvisor-$disk"
        case $kind/$disk in qcow2/* | vmdk/* | */libguestfs) ((RANDOM % 3 != 0)) || doomed="qemu-nbd|qemu-system" ;; esac
        kill -9 $(mine "^[^ ]*($doomed)") 2>/dev/null || true
        wait "$victim" 2>/dev/null || true
        # what was killed holds its run a moment longer on a busy machine
        for _ in $(seq 50); do
            "$anyvisor" reap >/dev/null 2>&1 || true
            [ -n "$(ls "$work/state/runs" 2>/dev/null)" ] || break
            sleep 0.1
        done
        rm -rf "$work/out"
        outcome=bad
        if "$anyvisor" disk get "$work/t.$format" /data "$work/out" --format "$format" 2>"$work/error"; then
            now=$(digest "$work/out")
            [ "$now" = "$old" ] && outcome=old
            [ "$now" = "$new" ] && outcome=new
        fi
        flatten "$kind" "$work/t.$format" "$work/check.raw"
        case $kind in qcow2 | vmdk) qemu-img check -q -f "$format" "$work/t.$format" || outcome=leaking ;; esac
        e2fsck -fn "$work/check.raw" >"$work/fsck" 2>&1 || outcome=unclean
        [ -z "$(left_over)" ] || outcome="leftover: $(left_over)"
        case $outcome in
        old) olds=$((olds + 1)) passed=$((passed + 1)) ;;
        new) news=$((news + 1)) passed=$((passed + 1)) ;;
        *)
            failed=$((failed + 1))
            echo "torture: $kind, $disk, kill $n after $pause ms: $outcome"
            head -n 3 "$work/error"
            tail -n 3 "$work/fsck"
            ;;
        esac
    done
    [ "$kind" != layer ] || [ "$parent" = "$(sha256sum "$work/parent.vdi")" ] || verdict "the parent of a layer" "it was changed"
    echo "torture: $kind, $disk: $count kills"
}
for disk in ${DISKS:-direct}; do
    for kind in ${FORMATS:-raw vdi layer vhd qcow2}; do torture "$kind" "$disk"; done
done
verdict "nothing is left at the end" "$(left_over)"
echo "torture: $passed held ($olds old, $news new)"
summary
