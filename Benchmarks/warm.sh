#!/usr/bin/env bash
# warm.sh ANYVISOR [CYCLES] [LONG]: jobs on a machine that is taken back to the moment in which it had booted.
# - from the start of a run to the console mark `task-start` on `tiny`, CYCLES times (50), beside `virsh snapshot-revert` of the same
#   machine (kernel, memory, processor, disk), and beside a cold run;
# - a whole run of `debian-python` with a task of no length, warm and cold in turns;
# - LONG cycles (500) in a row: resident memory and open descriptors of the program and of its machine.
anyvisor=$(realpath "$1") cycles=${2:-50} long=${3:-500}
source "$(dirname "$0")/common.sh"
virsh_pid=
cleanup() {
    [ -z "$virsh_pid" ] || kill "$virsh_pid" 2>/dev/null || true
    pkill -9 -f "guest=bench-warm-$$" 2>/dev/null || true
    rm -rf "$work" "/tmp/bw-$$"
}
trap cleanup EXIT
cd "$work"
image=$("$anyvisor" image build tiny 2>/dev/null)
"$anyvisor" image build debian-python >/dev/null 2>&1

recipe() { # NAME IMAGE MEMORY BOOT
    printf 'name: %s\nimage: %s\nboot: %s\nmachine: {memory: %s}\nhypervisor: {prefer: [qemu]}\ndisk: [direct]\ntasks: [{id: it, run: "true"}]\n' \
        "$1" "$2" "$4" "$3" >"$1.yaml"
}
run() { # NAME REPEAT
    rm -rf "$1.out"
    "$anyvisor" run "$1.yaml" --repeat "$2" --report "$1.out" >"$1.log" 2>&1 || { tail -n 3 "$1.log" >&2; return 1; }
}
starts() { # NAME: ms from the start of each run to its first task, but for the first run, which boots
    python3 - "$1.out" <<'END' >"$work/$1.ms"
import json, pathlib, sys
for folder in sorted(f for f in pathlib.Path(sys.argv[1]).iterdir() if f.is_dir())[1:]:
    print(next(e["sinceStartMs"] for e in map(json.loads, open(folder / "events.jsonl")) if e["kind"] == "task-start"))
END
}
recipe tiny-warm tiny 128MiB warm
recipe tiny-cold tiny 128MiB cold
recipe python-warm debian-python 512MiB warm
recipe python-cold debian-python 512MiB cold

# virsh keeps its own QEMU in an embedded driver, as anyvisor does.
revert() {
    local root=/tmp/bw-$$
    mkdir -p "$root/etc"
    printf '%s\n' 'user="root"' 'group="root"' 'dynamic_ownership=0' 'remember_owner=0' 'security_driver="none"' 'namespaces=[]' \
        'cgroup_controllers=[]' 'stdio_handler="file"' >"$root/etc/qemu.conf"
    qemu-img create -q -f qcow2 -F raw -b "$image/root.raw" system.qcow2
    words=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["commandLine"])' "$image/image.json")
    cat >domain.xml <<END
<domain type='qemu'><name>bench-warm-$$</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>$image/vmlinuz</kernel><initrd>$image/initrd</initrd><cmdline>$words anyvisor.warm</cmdline></os>
<features><acpi/></features><cpu mode='maximum'/>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='unsafe'/><source file='$work/system.qcow2'/><target dev='vda' bus='virtio'/></disk>
<serial type='file'><source path='$work/virsh-console'/><target port='0'/></serial></devices></domain>
END
    mkfifo commands
    virsh -q -t -c "qemu:///embed?root=$root" <commands >virsh.log 2>&1 &
    virsh_pid=$!
    exec 7>commands
    echo "define $work/domain.xml" >&7
    echo "start bench-warm-$$" >&7
    until grep -q '@anyvisor:-:warm' virsh-console 2>/dev/null; do sleep 0.2; done
    echo "snapshot-create-as bench-warm-$$ ready" >&7
    for _ in $(seq 11); do echo "snapshot-revert bench-warm-$$ ready --running" >&7; done
    echo "destroy bench-warm-$$" >&7
    echo "snapshot-delete bench-warm-$$ ready" >&7
    echo "undefine bench-warm-$$" >&7
    exec 7>&-
    wait "$virsh_pid" || { tail -n 5 virsh.log >&2; return 1; }
    virsh_pid=
    # Each command's time, in its own words: (Time: 12.345 ms)
    sed -n 's/.*(Time: \([0-9.]*\) ms).*/\1/p' virsh.log | sed -n '4,14p' >virsh.ms
}
run tiny-warm $((cycles + 1))
starts tiny-warm
revert
run tiny-cold 12
starts tiny-cold
row "tiny: from the run's start to task-start, warm / virsh" tiny-warm virsh "0.125, and 300 ms"
row "tiny: from the run's start to task-start, warm / cold" tiny-warm tiny-cold ""

for _ in 1 2 3; do
    run python-warm 4
    run python-cold 3
    python3 - <<'END'
import json, pathlib
for kind, skip in ("warm", 1), ("cold", 0):
    runs = json.load(open(f"python-{kind}.out/runs.json"))["runs"][skip:]
    with open(f"python-{kind}.ms", "a") as out:
        for run in runs: print(run["ms"], file=out)
END
done
row "debian-python: a whole run of a task of no length" python-warm python-cold "0.1"

"$anyvisor" run tiny-warm.yaml --repeat "$long" --report long.out >long.log 2>&1 &
program=$!
# The medians of what is seen in twenty cycles: what a job and a rehearsal have at once is a matter of chance.
sample() { # KiB and descriptors, of the program and of its machine
    local end=$(($1 + 20)) at=0 machine
    rm -f rss.ms files.ms mrss.ms mfiles.ms
    while [ "$at" -lt "$end" ] && kill -0 $program 2>/dev/null; do
        at=$(find long.out -mindepth 1 -maxdepth 1 -type d ! -name '.*' 2>/dev/null | wc -l)
        [ "$at" -ge "$1" ] || { sleep 0.1; continue; }
        look $program rss files
        machine=$(pgrep -f "$work/state/.*guest=|guest=anyvisor-.*" | head -n 1 || true)
        [ -z "$machine" ] || look "$machine" mrss mfiles
        sleep 0.02
    done
    echo "$(median rss) $(median files) $(median mrss) $(median mfiles)"
}
look() { # PID NAME NAME
    awk '/^VmRSS/ {print $2}' "/proc/$1/status" >>"$2.ms" 2>/dev/null || true
    ls "/proc/$1/fd" 2>/dev/null | grep -c . >>"$3.ms" || true
}
early=$(sample 40)
late=$(sample $((long - 21)))
wait $program || { tail -n 3 long.log >&2; exit 1; }
echo "$early $late" | awk -v n="$long" '{printf "%d cycles: program %.1f -> %.1f MiB, %.0f -> %.0f descriptors; machine %.1f -> %.1f MiB, %d -> %d descriptors  (goal: program at most + 2 MiB, + 0)\n", n, $1/1024, $5/1024, $2, $6, $3/1024, $7/1024, $4, $8}'
tail -n 2 long.log
