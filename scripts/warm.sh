#!/usr/bin/env bash
# warm.sh ANYVISOR: jobs on machines that are taken back to the moment in which they had booted: none sees another's traces, time and
# random numbers are right, and whatever a guest does, or is done to the machine, costs at most one run. HYPERVISOR names another
# backend than qemu.
anyvisor=$(realpath "$1") hypervisor=${HYPERVISOR:-qemu}
source "$(dirname "$0")/common.sh"
cd "$work"
"$anyvisor" image build tiny >/dev/null 2>&1

recipe() { # NAME, more lines on standard input
    {
        cat <<END
name: $1
image: tiny
boot: warm
machine: {memory: 128MiB}
hypervisor: {prefer: [$hypervisor]}
disk: [direct]
END
        cat
    } >"$1.yaml"
}
run() { # NAME ARGUMENT...: sets $status
    local name=$1
    shift
    rm -rf "$name.out"
    status=0
    "$anyvisor" run "$name.yaml" --report "$name.out" --json "$@" >"$name.json" 2>"$name.err" || status=$?
}
results() { # NAME: `STATUS BOOT` of each run, in order, in one line
    python3 - "$1" <<'END'
import json, sys
words = []
for run in json.load(open(f"{sys.argv[1]}.json"))["runs"]:
    result = json.load(open(f"{sys.argv[1]}.out/{run['folder']}/result.json"))
    words.append(f"{result['status']}-{result.get('boot')}")
print(*words)
END
}
expect() { [ "$2" = "$1" ] || echo "wanted '$1', found '$2': $(tail -n 3 "$name.err")"; } # WANTED FOUND

recipe traces <<'END'
results: {size: 8MiB}
tasks:
  - id: look
    run: |
      date +%s
      word=secret
      disk=$(awk '$2 == "/run/anyvisor/io" {print $1}' /proc/mounts)
      for place in "$disk" /dev/vda; do
        ! dd if="$place" bs=1M count=32 2>/dev/null | tr -s '\0' '\n' | grep -q "$word-is-here" || { echo "$place has it"; exit 3; }
      done
      ! ls /trace /tmp/trace /run/trace 2>/dev/null || exit 4
      ! pgrep -f 'sleep 1000' || exit 5
      ! ls -d /tmp/anyvisor/*-rehearsal /sys/fs/cgroup/anyvisor/*-rehearsal /run/anyvisor/cgroup-*/*-rehearsal 2>/dev/null || exit 6
      head -c 16 /dev/urandom | od -An -tx1
  - id: leave
    run: |
      touch /trace /tmp/trace /run/trace
      printf 'secret%s\n' -is-here
      printf 'secret%s\n' -is-here >>/run/anyvisor/io/results/more
      mount -t ext4 /dev/vda /mnt 2>/dev/null || { mkdir /mnt; mount -t ext4 /dev/vda /mnt; }
      printf 'secret%s\n' -is-here >/mnt/there
      umount /mnt
      setsid sleep 1000 &
END
name=traces
run traces --repeat 4
verdict "four jobs on one machine pass" "$(expect "$(printf 'passed-warm %.0s' 1 2 3 4 | sed 's/ $//')" "$(results traces)")"
verdict "each has the right time and random numbers of its own" "$(python3 - <<'END' 2>&1
import json, pathlib
seen = set()
for folder in sorted(pathlib.Path("traces.out").glob("*/")):
    if not folder.is_dir(): continue
    time, *random = (folder / "tasks/001-look/stdout").read_text().split()
    start = next(e["timeMs"] for e in map(json.loads, open(folder / "events.jsonl")) if e["kind"] == "task-start")
    if not -1500 < int(time) * 1000 - start < 1500: print(f"{folder}: the guest has {time}, the host had {start} ms")
    seen.add(" ".join(random))
if len(seen) != 4: print(f"{len(seen)} different random numbers in 4 runs")
END
)"
verdict "only the first one boots" "$(python3 - <<'END' 2>&1
import json, pathlib
boots = [next(p["ms"] for p in json.loads(f.read_text())["phases"] if p["name"] == "boot")
         for f in sorted(pathlib.Path("traces.out").glob("*/result.json"))]
if len(boots) != 4 or max(boots[1:]) * 2 > boots[0]: print(f"phase boot in ms: {boots}")
END
)"
verdict "nothing is left" "$(left_over)"
run traces --repeat 4 --jobs 2
verdict "two machines at once pass, and no job sees another's traces" "$(expect "$(printf 'passed-warm %.0s' 1 2 3 4 | sed 's/ $//')" "$(results traces)")"

recipe guests <<'END'
matrix: {what: [off, one, panic, two, endless, three, flood, four]}
tasks:
  - id: it
    timeout: 3s
    limits: {output: 2MiB}
    run: |
      case ${{ matrix.what }} in
      off) poweroff -f; sleep 60 ;;
      panic) echo c >/proc/sysrq-trigger ;;
      endless) sleep 1000 ;;
      flood) cat /dev/zero ;;
      esac
END
name=guests
run guests
verdict "a guest that powers off, panics, never ends or floods costs one run" \
    "$(expect "failed-warm passed-warm failed-warm passed-warm failed-warm passed-warm failed-warm passed-warm" "$(results guests)"; expect 1 "$status")"

recipe harm <<'END'
deadlines: {call: 4s, power-off: 5s}
tasks:
  - {id: it, timeout: 30s, run: "echo here >/dev/console; sleep 4"}
END
name=harm
harm() { # NAME EXIT WANTED COMMAND: three jobs, of which the first is harmed while it runs
    rm -rf harm.out
    "$anyvisor" run harm.yaml --report harm.out --json --repeat 3 >harm.json 2>harm.err &
    local run=$!
    for _ in $(seq 600); do grep -qs '^here' state/runs/*/work/w*/console.log && break; sleep 0.1; done
    eval "$4"
    status=0
    wait "$run" || status=$?
    verdict "$1" "$(expect "$3" "$(results harm)"; expect "$2" "$status"; left_over)"
}
machine() { mine "guest=anyvisor-.*" | head -n 1; }
harm "a machine that is killed is replaced" 1 "failed-warm passed-warm passed-warm" 'kill -9 $(machine)'
harm "a machine that stands still is killed and replaced" 1 "failed-warm passed-warm passed-warm" 'kill -STOP $(machine)'
harm "a plugin that is killed is replaced with its machine" 16 "error-warm passed-warm passed-warm" 'kill -9 $(mine "anyvisor-libvirt( |\$)")'
# The image's count of snapshots is at 60; QEMU reads it only when it opens the image.
harm "a machine whose snapshot somebody removed is not used again" 16 "error-warm passed-warm passed-warm" \
    'printf "\0\0\0\0" | dd of=$(ls state/runs/*/work/w1/system.qcow2) bs=1 seek=60 conv=notrunc status=none'

rm -rf harm.out
"$anyvisor" run harm.yaml --report harm.out --json --repeat 5 >harm.json 2>harm.err &
run=$!
spare=
for _ in $(seq 600); do
    consoles=$(grep -c '@anyvisor:-:warm' state/runs/*/work/w*/console.log 2>/dev/null | sed -n 's/:2$//p' || true)
    if [ "$(echo "$consoles" | wc -w)" = 2 ] && grep -qs '^here' $consoles; then
        spare=$(mine "guest=anyvisor-.*$(basename "$(dirname "$(grep -L '^here' $consoles)")"),")
        break
    fi
    sleep 0.1
done
kill -9 $spare
status=0
wait "$run" || status=$?
verdict "a spare machine that is killed costs no run" "$([ -n "$spare" ] || echo "there is none"
    expect "passed-warm passed-warm passed-warm passed-warm passed-warm" "$(results harm)"; expect 0 "$status"; left_over)"
rm -rf harm.out
"$anyvisor" run harm.yaml --report harm.out --repeat 3 >harm.json 2>harm.err &
for _ in $(seq 600); do grep -qs '^here' state/runs/*/work/w*/console.log && break; sleep 0.1; done
kill -9 $!
wait $! 2>/dev/null || true
verdict "reap removes the machines of a killed command" "$("$anyvisor" reap 2>&1 >/dev/null; left_over; ls harm.out 2>/dev/null)"

recipe cold <<'END'
deadlines: {boot: 1s, tasks: 1s}
tasks: [{id: it, run: "true"}]
END
name=cold
run cold --hypervisor memory
verdict "where no machine can be kept it starts cold, and says so" "$(grep -q 'starts cold' cold.err cold.json || tail -n 3 cold.err)"
summary
