#!/usr/bin/env bash
# kills.sh ANYVISOR: kill -9 of each process of a run, at every STEPth journal record and at KILLS random moments, and SIGSTOP of
# the hypervisor's plugin and of the machine. Afterwards `reap` must leave nothing, and the image must be what it was.
# VICTIMS names the processes of the sweep, DISK the disk backend.
anyvisor=$(realpath "$1")
source "$(dirname "$0")/common.sh"
cd "$work"
victims() { # anyvisor, a plugin or qemu
    case $1 in
    anyvisor) echo "$run" ;;
    qemu) mine qemu-system ;;
    *) mine "^([^ ]*/)?anyvisor-$1( |\$)" ;;
    esac
}
image_changed() { [ "$(sha256sum <"$base/root.raw")" = "$sum" ] || echo "the image has changed"; }
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
    verdict "$1" "$problem$(left_over)$(image_changed)"
}
base=$("$anyvisor" image build tiny 2>/dev/null)
sum=$(sha256sum <"$base/root.raw")

disk=${DISK:-direct}
for victim in ${VICTIMS:-anyvisor libvirt "$disk" qemu}; do
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
    verdict "SIGSTOP of $victim, over after $took ms" "$problem$(left_over)$(image_changed)"
done
summary
