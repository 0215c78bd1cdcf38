#!/usr/bin/env bash
# torture.sh ANYVISOR SEED COUNT: SIGKILLs uploads at random moments; afterwards the image must hold the old or the new
# content, never something between, and its file system must be clean.
set -euo pipefail
set +m
anyvisor=$1 seed=$2 count=$3
RANDOM=$seed
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ANYVISOR_STATE=$work/state
echo "torture: seed $seed, $count kills for each format"

mkdir -p "$work/old/dir" "$work/new/dir"
for i in $(seq 60); do head -c $((RANDOM * 3)) /dev/urandom >"$work/old/dir/f$i"; head -c $((RANDOM * 3)) /dev/urandom >"$work/new/dir/f$i"; done
head -c 80M /dev/urandom >"$work/old/big"; head -c 80M /dev/urandom >"$work/new/big"
digest() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
old=$(digest "$work/old") new=$(digest "$work/new")

truncate -s 320M "$work/base.raw"; mke2fs -q -F -t ext4 "$work/base.raw"
passed=0 failed=0 olds=0 news=0
for format in raw vdi; do
    qemu-img convert -f raw -O "$format" "$work/base.raw" "$work/base.$format.clean"
    "$anyvisor" disk put "$work/base.$format.clean" "$work/old" /data --format "$format" 2>/dev/null
    whole=100000
    for warm in 1 2 3; do
        cp "$work/base.$format.clean" "$work/t.$format"
        started=$(date +%s%N)
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" 2>/dev/null
        took=$((($(date +%s%N) - started) / 1000000))
        [ "$took" -ge "$whole" ] || whole=$took
    done
    for n in $(seq "$count"); do
        cp "$work/base.$format.clean" "$work/t.$format"
        "$anyvisor" disk put "$work/t.$format" "$work/new" /data --format "$format" >/dev/null 2>&1 &
        victim=$!
        pause=$((RANDOM % (whole + 1)))
        sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
        # mostly the command and its plugin die together; else only the plugin does, and the next backend takes over
        ((RANDOM % 4 == 0)) || kill -9 "$victim" 2>/dev/null || true
        for p in $(pgrep -f "^[^ ]*anyvisor-direct" || true); do
            if tr '\0' '\n' 2>/dev/null <"/proc/$p/environ" | grep -q "ANYVISOR_WORK=$work"; then kill -9 "$p" 2>/dev/null || true; fi
        done 2>/dev/null
        wait "$victim" 2>/dev/null || true
        "$anyvisor" reap >/dev/null 2>&1 || true
        rm -rf "$work/out"
        verdict=bad
        if "$anyvisor" disk get "$work/t.$format" /data "$work/out" --format "$format" 2>"$work/error"; then
            now=$(digest "$work/out")
            [ "$now" = "$old" ] && verdict=old
            [ "$now" = "$new" ] && verdict=new
        fi
        qemu-img convert -f "$format" -O raw "$work/t.$format" "$work/check.raw"
        e2fsck -fn "$work/check.raw" >"$work/fsck" 2>&1 || verdict=unclean
        ls "$work"/t.*redo* >/dev/null 2>&1 && verdict=leftover
        case $verdict in
        old) olds=$((olds + 1)) passed=$((passed + 1)) ;;
        new) news=$((news + 1)) passed=$((passed + 1)) ;;
        *) failed=$((failed + 1)); echo "torture: $format kill $n after $pause ms: $verdict"; head -n 3 "$work/error"; tail -n 3 "$work/fsck" ;;
        esac
    done
done
echo "torture: $passed held ($olds old, $news new)"
echo "torture: $passed passed, $failed failed"
[ "$failed" = 0 ]
