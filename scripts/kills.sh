#!/usr/bin/env bash
# kills.sh ANYVISOR: kill -9 of each process of a run, at every STEPth journal record and at KILLS random moments, and SIGSTOP of
# the hypervisor's plugin and of the machine. Afterwards `reap` must leave nothing, and the image must be what it was.
set -euo pipefail
anyvisor=$(realpath "$1")
project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill -9 $(jobs -p) 2>/dev/null || true; "$anyvisor" reap >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
export ANYVISOR_STATE=$work/state
cd "$work"
passed=0 failed=0
verdict() { # NAME PROBLEM
    if [ -z "$2" ]; then passed=$((passed + 1)); echo "kills: $1: ok"; else failed=$((failed + 1)); echo "kills: $1: FAILED: $2"; fi
}
# Processes of this script's runs whose program is NAME.
processes() { # NAME
    local p
    for p in $(pgrep -f -- "$1" || true); do
        case $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") in
        */"$1" | */"$1 "* | "$1 "*) grep -qzs "^ANYVISOR_JOURNAL=$work/" "/proc/$p/environ" && echo "$p" || true ;;
        esac
    done
}
victims() { # anyvisor, a plugin or qemu
    local p
    case $1 in
    anyvisor) echo "$run" ;;
    # libvirt starts the machine with an environment of its own.
    qemu) for p in $(pgrep -f qemu-system); do grep -qas "$work" "/proc/$p/cmdline" && echo "$p" || true; done ;;
    *) processes "anyvisor-$1" ;;
    esac
}
left_over() {
    local p
    for p in $(pgrep -f 'anyvisor|qemu|fuse' || true); do
        if grep -qzs "^ANYVISOR_JOURNAL=$work/" "/proc/$p/environ"; then echo "process $p is left"; fi
        if grep -qas "$work" "/proc/$p/cmdline"; then echo "process $p is left"; fi
    done
    [ -z "$(ls "$work/state/runs" 2>/dev/null)" ] || echo "a run folder is left"
    ! grep -q "$work" /proc/mounts || echo "a mount is left"
    ! losetup -a 2>/dev/null | grep -q "$work" || echo "a loop device is left"
    find /tmp -maxdepth 1 -name "av-$(id -u)-*" -newer "$work/begin" 2>/dev/null | grep . || true
    [ "$(sha256sum <"$base/root.raw")" = "$sum" ] || echo "the image has changed"
}
start() { # ARGUMENT...: begins a run in the background
    rm -rf report
    "$anyvisor" run "$project/examples/hello-tiny.yaml" --hypervisor qemu --report report "$@" >run.out 2>run.err &
    run=$!
}
await_end() { # SECONDS: 1 when the run did not end in time
    local _
    for _ in $(seq $(($1 * 20))); do
        kill -0 "$run" 2>/dev/null || { wait "$run" 2>/dev/null || true; return 0; }
        sleep 0.05
    done
    kill -9 "$run"
    return 1
}
finish() { # NAME SECONDS: the run ends by itself in time, reap leaves nothing
    local problem=""
    await_end "$2" || problem="the run did not end within $2 s"
    "$anyvisor" reap >reap.out 2>reap.err || problem="$problem reap: $(tail -n 2 reap.err)"
    verdict "$1" "$problem$(left_over)"
}
base=$("$anyvisor" image build tiny 2>/dev/null)
sum=$(sha256sum <"$base/root.raw")
touch begin

disk=${DISK:-direct}
for victim in anyvisor libvirt "$disk" qemu; do
    for n in $(seq 1 "${STEP:-1}" 99); do
        ANYVISOR_HOLD=any:$n start --disk "$disk"
        while [ -z "$(cat state/runs/*/held 2>/dev/null)" ] && kill -0 "$run" 2>/dev/null; do sleep 0.02; done
        read -r held kind <<<"$(cat state/runs/*/held 2>/dev/null)"
        if [ -z "$held" ]; then
            finish "$victim: the run has $((n - 1)) or fewer records" 30
            break
        fi
        targets=$(victims "$victim")
        [ -z "$targets" ] || kill -9 $targets 2>/dev/null || true
        kill -CONT "$held" 2>/dev/null || true
        finish "kill -9 of $([ -n "$targets" ] && echo "$victim" || echo "nobody, since $victim does not run,") at record $n, $kind" 60
    done
done

seed=${SEED:-$RANDOM}
RANDOM=$seed
for n in $(seq "${KILLS:-50}"); do
    names=(anyvisor libvirt "$disk" qemu)
    victim=${names[$((RANDOM % 4))]} moment=$((RANDOM % 4000))
    start --disk "$disk"
    sleep "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))"
    targets=$(victims "$victim")
    [ -z "$targets" ] || kill -9 $targets 2>/dev/null || true
    finish "kill -9 of $([ -n "$targets" ] && echo "$victim" || echo "nobody, since $victim does not run,") after $moment ms (seed $seed)" 60
done

# --- stopped rather than dead: over within the phase's deadline and 3 s
cat >stopped.yaml <<'YAML'
name: stopped
image: tiny
deadlines: {tasks: 10s}
tasks:
  - id: long
    run: sleep 60
YAML
for victim in libvirt qemu; do
    rm -rf report
    "$anyvisor" run stopped.yaml --hypervisor qemu --report report >run.out 2>run.err &
    run=$!
    until grep -q 'task long  *started' run.out run.err || ! kill -0 $run 2>/dev/null; do sleep 0.02; done
    begun=$(date +%s%N)
    targets=$(victims $victim)
    problem=""
    [ -n "$targets" ] && kill -STOP $targets || problem="$victim was not there to be stopped: $(tail -n 3 run.err)"
    await_end 30 || problem="the run did not end within 30 s"
    took=$((($(date +%s%N) - begun) / 1000000))
    [ "$took" -le 13000 ] || problem="the run ended $took ms after the tasks began, with a deadline of 10 s"
    "$anyvisor" reap >reap.out 2>&1 || problem="$problem reap failed"
    verdict "SIGSTOP of $victim, over after $took ms" "$problem$(left_over)"
done
echo "kills: $passed passed, $failed failed"
[ "$failed" = 0 ]
