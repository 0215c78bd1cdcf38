#!/usr/bin/env bash
# test.sh IMAGE-DIR: the agent in a real machine (QEMU without acceleration), every status and limit, with cgroup v2,
# cgroup v1 and none (KINDS="2 1 none"). `tiny` shows it with busybox ash, `debian-python` with dash. Prints one line a
# check; exit 1 when one fails. Takes one or two minutes.
set -euo pipefail
image=${1:?usage: test.sh IMAGE-DIR}
export PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
machine=
trap '[ -z "$machine" ] || kill -9 "$machine" 2>/dev/null; rm -rf "$work"' EXIT
failures=0

check() { # WHAT WANTED FOUND
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: wanted '$2', found '$3'"
        failures=$((failures + 1))
    fi
}

number=0
task() { # ID LIMITS NEEDS ARTIFACTS <run.sh
    number=$((number + 1))
    local folder
    folder=$work/disk/job/tasks/$(printf '%03d' $number)-$1
    mkdir -p "$folder"
    cat >"$folder/run.sh"
    printf '%s' "$2" >"$folder/limits"
    printf '%s' "$3" >"$folder/needs"
    printf '%s' "$4" >"$folder/artifacts"
}

new_job() {
    rm -rf "$work/disk" "$work/out" "$work/io.raw"
    number=0
    mkdir -p "$work/disk/job/tasks" "$work/disk/job/inputs"
    echo testtoken >"$work/disk/job/token"
    echo 'an input' >"$work/disk/job/inputs/input file"
}

make_disk() { # SIZE
    truncate -s "$1" "$work/io.raw"
    mke2fs -q -F -t ext4 -L anyvisor-io -d "$work/disk" "$work/io.raw"
}

from_image() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$image/image.json" "$1"; }

boot() { # WORDS OF THE COMMAND LINE; DISK INTERFACE; SECONDS
    local words
    words=$(from_image commandLine)
    qemu-system-x86_64 -accel tcg -nodefaults -display none -no-reboot -m 384 -serial "file:$work/console" \
        -kernel "$image/$(from_image kernel)" -initrd "$image/$(from_image initrd)" -append "$words $1" \
        -drive "file=$image/$(from_image disk),format=raw,if=$2,snapshot=on" \
        -drive "file=$work/io.raw,format=raw,if=$2" </dev/null >"$work/qemu.log" 2>&1 &
    machine=$!
    if [ "$3" -gt 0 ]; then
        timeout "$3" tail --pid="$machine" -f /dev/null || { echo "FAILED  the machine did not power off"; failures=$((failures + 1)); }
    else
        # Killed in the middle: as soon as the console says what the caller waits for, and 3 seconds on.
        until grep -q "$4" "$work/console"; do sleep 0.1; done
        sleep 3
    fi
    kill -9 "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    machine=
    e2fsck -E journal_only -p "$work/io.raw" >/dev/null 2>&1 || true
    check "e2fsck finds nothing" 0 "$(e2fsck -fn "$work/io.raw" >"$work/fsck.log" 2>&1 && echo 0 || cat "$work/fsck.log")"
    mkdir "$work/out"
    debugfs -R "rdump /results $work/out" "$work/io.raw" 2>/dev/null
}

of() { cat "$work/out/results/$1" 2>/dev/null || echo none; } # FILE
usage_of() { sed -n "s/^$2=//p" "$work/out/results/$1/usage"; } # TASK KEY

all_tasks() {
    task plain '' '' '' <<'END'
echo "$TASK_ID $HOME $TMPDIR $PWD"; cat "$INPUTS/input file"; echo problem >&2
END
    printf "%s\n" "GREETING='it'\\''s here'" >"$work/disk/job/tasks/001-plain/env"
    echo 'echo "$GREETING"' >>"$work/disk/job/tasks/001-plain/run.sh"
    task artifacts '' '' $'out/*\n/tmp/abs file\nlink' <<'END'
mkdir -p out/deep; echo 1 >out/one; echo 2 >out/deep/two; echo 3 >'/tmp/abs file'; ln -s /etc/passwd link
END
    task partial '' '' $'/tmp/never*\n' <<<'true'
    task fails '' '' '/tmp/log' <<<'echo kept >/tmp/log; false; echo not reached'
    task skipped '' $'plain\nfails\n' '' <<<'echo never'
    task second '' 'plain' '' <<<'echo ran'
    task badlimits 'colour=3' '' '' <<<'true'
    task timeout 'timeout=2' '' '' <<<'echo before; (setsid sleep 1000 & ); sleep 1000'
    task daemon '' '' '' <<<'setsid sleep 777 & sleep 0.5'
    task survivors '' '' '' <<<'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -c "slee[p] [17]" || true'
    task reads '' '' '' <<<'cat; echo "stdin was empty"'
    task output 'output=100000' '' '' <<<'while :; do echo 0123456789012345678901234567890123456789; done'
    if [ "$1" != none ]; then
        task memory 'memory=33554432' '' '' <<<'echo start; x=$(head -c 100000000 /dev/zero | tr "\0" a); echo never'
        task cpu 'cpu=1' '' '' <<<'while :; do :; done'
        task busy '' '' '' <<<'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; x=$(head -c 20000000 /dev/zero | tr "\0" a); sleep 0.6; echo ${#x}'
    else
        task memory 'memory=33554432' '' '' <<<'true'
    fi
}

echo "--- marks while children end"
for shell in "busybox sh" dash; do
    { sed -n '/^mark() {/,/^}/p' "$(dirname "$0")/agent"; echo 'for i in $(seq 3000); do ( : ) & mark $i; done; wait'; } >"$work/marks"
    check "$shell loses no mark" 3000 "$(console=/dev/tty token=t script -qec "$shell $work/marks" /dev/null | grep -c '^@anyvisor:t:')"
done

for kind in ${KINDS-2 1 none}; do
    echo "--- cgroup: $kind"
    new_job
    all_tasks "$kind"
    make_disk 32M
    boot "anyvisor.cgroup=$kind" virtio 120
    check "the job ended" ok "$(of done)"
    check "plain: status" success "$(of 001-plain/status)"
    check "plain: stdout" "$(printf '%s\n' 'plain /root /tmp /tmp/anyvisor/001-plain' 'an input' "it's here")" "$(of 001-plain/stdout)"
    check "plain: stderr" problem "$(of 001-plain/stderr)"
    check "artifacts: status" success "$(of 002-artifacts/status)"
    check "artifacts: with their path" "1 2 3 /etc/passwd" "$(cd "$work/out/results/002-artifacts/artifacts" && echo $(cat out/one out/deep/two 'tmp/abs file') $(readlink link))"
    check "partial: status" partial "$(of 003-partial/status)"
    check "partial: reason" 'artifact /tmp/never*' "$(of 003-partial/reason)"
    check "fails: status, exit, artifact" "failure 1 kept" "$(of 004-fails/status) $(of 004-fails/exit) $(of 004-fails/artifacts/tmp/log)"
    check "skipped" "skipped need fails failure" "$(of 005-skipped/status) $(of 005-skipped/reason)"
    check "second" "success ran" "$(of 006-second/status) $(of 006-second/stdout)"
    check "bad limits" "error limits unknown key 'colour'" "$(of 007-badlimits/status) $(of 007-badlimits/reason)"
    check "timeout" "killed timeout before none" "$(of 008-timeout/status) $(of 008-timeout/reason) $(of 008-timeout/stdout) $(of 008-timeout/exit)"
    check "nothing survives a task" 0 "$(of 010-survivors/stdout)"
    check "stdin is empty" "stdin was empty" "$(of 011-reads/stdout)"
    check "output limit" "killed output" "$(of 012-output/status) $(of 012-output/reason)"
    check "usage: source" "$([ $kind = none ] && echo none || echo cgroup$kind)" "$(usage_of 001-plain source)"
    if [ $kind = none ]; then
        check "usage without cgroups has the wall time alone" "source wall_ms" "$(echo $(cut -d= -f1 "$work/out/results/001-plain/usage"))"
        check "a limit that cannot be kept" error "$(of 013-memory/status)"
    else
        check "memory" "killed memory start" "$(of 013-memory/status) $(of 013-memory/reason) $(of 013-memory/stdout)"
        check "cpu" "killed cpu" "$(of 014-cpu/status) $(of 014-cpu/reason)"
        check "busy" "success 20000000" "$(of 015-busy/status) $(of 015-busy/stdout)"
        check "usage: more than 0.1 s of CPU" yes "$([ "$(usage_of 015-busy cpu_us)" -gt 100000 ] && echo yes)"
        check "usage: peak above 20 MB and below 100 MB" yes "$([ "$(usage_of 015-busy memory_peak_bytes)" -gt 20000000 ] && [ "$(usage_of 015-busy memory_peak_bytes)" -lt 100000000 ] && echo yes)"
    fi
    check "marks: ready, 2 for each task, done" $((number * 2 + 2)) "$(grep -a -c '^@anyvisor:testtoken:' "$work/console")"
    check "marks: end of fails" 1 "$(grep -a -c '^@anyvisor:testtoken:task-end 004 fails failure 1' "$work/console")"
    check "marks: done is last" done "$(grep -a '^@anyvisor:' "$work/console" | tail -n 1 | tr -d '\r' | cut -d: -f3)"
    sed -n 's/^ready_ms=/        ready_ms /p' "$work/out/results/agent"
done

echo "--- IDE"
new_job; task plain '' '' '' <<<'echo hi'; make_disk 16M; boot '' ide 60
check "plain" "success hi" "$(of 001-plain/status) $(of 001-plain/stdout)"

echo "--- killed in the middle"
new_job; task first '' '' '' <<<'echo complete'; task hangs '' '' '' <<<'echo so far; sleep 1000'; task third '' '' '' <<<'true'
make_disk 16M; boot '' virtio 0 'task-start 002'
check "first" "success complete" "$(of 001-first/status) $(of 001-first/stdout)"
check "hangs: output so far, no status" "so far none" "$(of 002-hangs/stdout) $(of 002-hangs/status)"
check "third has no folder" no "$([ -e "$work/out/results/003-third" ] && echo yes || echo no)"
check "no done" none "$(of done)"
rm -rf "$work/out"; boot '' virtio 60
check "a second boot runs nothing" no "$([ -e "$work/out/results/003-third" ] && echo yes || echo no)"
check "a second boot says so" 1 "$(grep -a -c 'error the job was started before' "$work/console")"

echo "--- panic"
new_job; task first '' '' '' <<<'echo complete'; task panics '' '' '' <<<'echo so far; sleep 2; echo c >/proc/sysrq-trigger'
make_disk 16M; boot '' virtio 60
check "first" "success complete" "$(of 001-first/status) $(of 001-first/stdout)"
check "panics: output so far, no status" "so far none" "$(of 002-panics/stdout) $(of 002-panics/status)"

echo "--- full disk"
new_job; task fills '' '' '/tmp/big' <<<'head -c 3000000 /dev/zero >/tmp/big; cat /dev/zero'
task after '' '' '' <<<'true'
make_disk 8M; boot '' virtio 60
check "fills" "failure exit 1" "$(of 001-fills/status) $(of 001-fills/reason | head -n 1)"
check "fills: the artifact that did not fit" "artifact-copy /tmp/big" "$(of 001-fills/reason | tail -n 1)"
check "after" "success ok" "$(of 002-after/status) $(of done)"

echo "--- no IO disk"
new_job; make_disk 8M; e2label "$work/io.raw" other; boot 'anyvisor.wait=1' virtio 60
check "says so" 1 "$(grep -a -c "^@anyvisor:-:error no disk carries the label 'anyvisor-io'" "$work/console")"

[ "$failures" = 0 ] && echo "all checks passed" || { echo "$failures checks failed"; exit 1; }
