#!/usr/bin/env bash
# end-to-end.sh ANYVISOR: the promises of a run, on real machines: every example recipe, bad input, an ordinary
# user. Prints a line for each and ends with how many held.
anyvisor=$(realpath "$1")
source "$(dirname "$0")/common.sh"
chmod 755 "$work"
cd "$work"
run() { # NAME EXPECTED-EXIT RECIPE ARGUMENT...: leaves the report in report/NAME
    local name=$1 expected=$2 recipe=$3 status=0
    shift 3
    "$anyvisor" run "$recipe" --hypervisor qemu --report "$work/report/$name" "$@" >"$name.out" 2>"$name.err" || status=$?
    [ "$status" = "$expected" ] || { verdict "$name" "exit $status, not $expected: $(tail -n 3 "$name.err")"; return 1; }
}
expect() { # NAME PYTHON-EXPRESSION over r (result.json) and d (the report's folder)
    local problem
    problem=$(python3 - "$work/report/$1" "$2" 2>&1 <<'PY'
import json, pathlib, sys
d = pathlib.Path(sys.argv[1])
r = json.loads((d / "result.json").read_text())
s = {t["id"]: t["status"] for t in r["tasks"]}
text = lambda task, file: next(d.glob(f"tasks/*-{task}/{file}")).read_text()
sys.exit(None if eval(sys.argv[2]) else f"not so: {sys.argv[2]}; statuses {s}")
PY
    ) || true
    verdict "$1" "$problem"
}
refuses() { # NAME EXPECTED-EXIT TEXT COMMAND...: one clear error and the right exit status
    local name=$1 expected=$2 text=$3 status=0
    shift 3
    timeout 120 "$@" >"$name.out" 2>"$name.err" || status=$?
    if [ "$status" != "$expected" ]; then verdict "$name" "exit $status, not $expected: $(tail -n 2 "$name.err")"
    elif ! grep -q "$text" "$name.err"; then verdict "$name" "does not say '$text': $(tail -n 2 "$name.err")"
    else verdict "$name" "$(left_over)"; fi
}

# --- the example recipes
run demo 0 "$project/examples/demo.yaml" &&
    expect demo 'set(s.values()) == {"success"} and json.loads(text("tests", "artifacts/*/counts.json") if list(d.glob("tasks/*-tests/artifacts/*/counts.json")) else text("tests", "artifacts/counts.json"))["tests"] >= 100 and int(text("changed-files", "stdout").split()[0]) > 10'
run failing 1 "$project/examples/failing.yaml" &&
    expect failing 's == {"passes": "success", "fails": "failure", "depends": "skipped"} and "expected 5" in text("fails", "stderr")'
verdict "a failing run as JUnit" "$("$anyvisor" report report/failing --format junit | python3 -c '
import sys, xml.etree.ElementTree as xml
suite = xml.parse(sys.stdin).getroot()[0]
told = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
said = suite.find("testcase[@name=\"fails\"]/system-err").text
if told != dict(tests="3", failures="1", errors="0", skipped="1") or "expected 5" not in said: print(told, said)' 2>&1)"
verdict "as CSV" "$("$anyvisor" report report/failing --format csv | python3 -c '
import csv, sys
rows = [(row["task"], row["status"], row["exit"]) for row in csv.DictReader(sys.stdin)]
if rows != [("passes", "success", "0"), ("fails", "failure", "1"), ("depends", "skipped", "")]: print(rows)' 2>&1)"
verdict "as a page" "$("$anyvisor" report report/failing --format html | grep -q "expected 5, got 4" || echo "without what the task said")"
run killed 1 "$project/examples/killed.yaml" &&
    expect killed 's == {"first": "success", "endless": "killed", "waits": "skipped"} and text("endless", "stdout") == "so far\n" and "complete" in text("first", "stdout")'
run panic 1 "$project/examples/panic.yaml" &&
    expect panic 's == {"first": "success", "panics": "killed", "never": "missing"} and "so far" in text("panics", "stdout")'
run hostile 1 "$project/examples/hostile.yaml" &&
    expect hostile 'r["refused"] >= 7 and not any(p.is_symlink() or p.stat().st_mode & 0o6000 for p in d.rglob("*")) and {"symbolic link", "block device"} <= {e["reason"] for e in json.loads((d / "refused.json").read_text())["refused"]}'

# --- the same recipe by other backends comes to the same, and one seeded difference is found
run one 0 "$project/examples/everywhere.yaml" && run two 0 "$project/examples/everywhere.yaml" --disk vdfuse &&
    verdict "two runs came to the same" "$("$anyvisor" report diff report/one report/two 2>/dev/null)"
sed -i 's/^line 7$/line seven/' report/two/tasks/*-compute/artifacts/data.txt
verdict "one seeded difference is found" "$("$anyvisor" report diff report/one report/two 2>/dev/null |
    diff - <(echo "task compute, artifacts/data.txt, line 8: 'line 7', 'line seven'"))"

# --- a source-only distribution: its setup.py runs in the machine, never here
run source-only 0 "$project/examples/source-only.yaml" && expect source-only 'set(s.values()) == {"success"}'
"$project/Tests/Fixtures/package-index" /tmp/anyvisor-setup-ran >index.url &
until [ -s index.url ] || ! kill -0 $!; do sleep 0.05; done
rm -f /tmp/anyvisor-setup-ran
cat >marker.yaml <<'YAML'
name: marker
image: debian-python
inputs:
  - python: evil==1.0
tasks:
  - id: install
    run: python3 -m pip install --no-index --no-build-isolation --root-user-action=ignore --find-links "$INPUTS" evil
    timeout: 180s
  - id: marker
    needs: [install]
    run: cat /tmp/anyvisor-setup-ran
YAML
PIP_INDEX_URL=$(cat index.url) run marker 0 marker.yaml && expect marker '"python" in text("marker", "stdout")'
verdict "no fetched code ran on this host" "$([ ! -e /tmp/anyvisor-setup-ran ] || echo "setup.py was run by $(cat /tmp/anyvisor-setup-ran)")"
sed 's/evil==1.0/unsolvable==1.0/' marker.yaml >unsolvable.yaml
PIP_INDEX_URL=$(cat index.url) refuses unsatisfiable 2 "six" "$anyvisor" run unsolvable.yaml --hypervisor qemu

# --- a guest that is only simulated does not count unless the user says so
cat >simulated.yaml <<YAML
name: simulated
image: tiny
hypervisor: {prefer: [memory], options: {memory: {guest: "$project/Tests/Fixtures/scripted-guest"}}}
tasks:
  - id: only
    run: "true"
YAML
simulated() { # NAME EXPECTED-EXIT ARGUMENT...
    local name=$1 expected=$2 status=0
    shift 2
    "$anyvisor" run simulated.yaml --report "$work/report/$name" "$@" >"$name.out" 2>"$name.err" || status=$?
    [ "$status" = "$expected" ] || { verdict "$name" "exit $status, not $expected: $(tail -n 3 "$name.err")"; return; }
    expect "$name" 'r["simulated"] is True and s == {"only": "success"}'
}
simulated simulated-refused 16
simulated simulated-allowed 0 --allow-simulated

# --- limits and deadlines of a run
cat >memory.yaml <<'YAML'
name: memory
image: tiny
tasks:
  - id: hungry
    run: tail /dev/zero
    limits: {memory: 32MiB}
YAML
run memory 1 memory.yaml && expect memory 's == {"hungry": "killed"} and "memory" in str(r["tasks"][0]["reasons"])'
cat >stuck.yaml <<'YAML'
name: stuck
image: tiny
deadlines: {tasks: 8s}
tasks:
  - id: first
    run: echo complete
  - id: stuck
    run: "echo so far; sleep 3; echo 1 > /proc/sys/kernel/sysrq; kill -STOP 1; while :; do sleep 1; done"
YAML
run stuck 1 stuck.yaml && expect stuck 's == {"first": "success", "stuck": "killed"} and "so far" in text("stuck", "stdout")'

cat >reboots.yaml <<'YAML'
name: reboots
image: tiny
tasks:
  - id: first
    run: echo complete
  - id: reboots
    run: "echo so far; sync; reboot -f; sleep 60"
  - id: never
    run: "true"
YAML
run reboots 1 reboots.yaml && expect reboots 's == {"first": "success", "reboots": "killed", "never": "missing"}'

# --- bad input
printf 'name: x\nimage: tiny\ntaks: []\n' >typo.yaml
refuses unknown-key 2 "did you mean 'tasks'" "$anyvisor" validate typo.yaml
refuses unknown-backend 2 "did you mean" "$anyvisor" run "$project/examples/hello-tiny.yaml" --hypervisor qemuu
refuses missing-image 2 "no image" "$anyvisor" disk ls nothing.vdi
"$anyvisor" disk create good.vdi --size 64MiB --filesystem ext4
head -c 2000000 good.vdi >truncated.vdi
refuses truncated 16 truncated "$anyvisor" disk ls truncated.vdi
cp good.vdi signature.vdi && printf 'XXXX' | dd of=signature.vdi bs=1 seek=64 conv=notrunc 2>/dev/null
refuses signature 16 signature "$anyvisor" disk ls signature.vdi --format vdi
cp good.vdi range.vdi && printf '\x50\0\0\0' | dd of=range.vdi bs=1 seek=1048576 conv=notrunc 2>/dev/null
refuses out-of-range 16 "out of range" "$anyvisor" disk ls range.vdi
cp good.vdi twice.vdi && dd if=good.vdi of=twice.vdi bs=1 skip=1048576 seek=1048580 count=4 conv=notrunc 2>/dev/null
refuses twice 16 "stands twice" "$anyvisor" disk ls twice.vdi
truncate -s 64M dirty.raw && mke2fs -q -F -t ext4 dirty.raw && debugfs -w -R 'feature needs_recovery' dirty.raw 2>/dev/null
refuses dirty-journal 16 journal "$anyvisor" disk put dirty.raw typo.yaml /x
truncate -s 64M held.raw && mke2fs -q -F -t ext4 held.raw
qemu-system-x86_64 -accel tcg -nodefaults -display none -S -drive file=held.raw,format=raw,if=virtio &
holder=$!
until grep -q "$(stat -c :%i held.raw)" /proc/locks 2>/dev/null || ! kill -0 $holder; do sleep 0.05; done
refuses held-open 75 "held open" "$anyvisor" disk put held.raw typo.yaml /x
kill $holder
wait $holder 2>/dev/null || true
printf 'name: x\nimage: debian-python\ninputs:\n  - python: no-such-distribution-anyvisor==1\ntasks:\n  - id: a\n    run: "true"\n' >unknown.yaml
refuses unknown-distribution 2 no-such-distribution-anyvisor "$anyvisor" run unknown.yaml --hypervisor qemu
if [ "$(id -u)" = 0 ]; then
    mkdir small && mount -t tmpfs -o size=24M scripts-own small
    truncate -s 200M small/full.raw && mke2fs -q -F -t ext4 small/full.raw && sum=$(sha256sum <small/full.raw)
    head -c 40M /dev/urandom >big
    refuses no-space 16 "space" "$anyvisor" disk put small/full.raw big /big --disk direct
    e2fsck -fn small/full.raw >/dev/null 2>&1 && [ "$("$anyvisor" disk ls small/full.raw / 2>/dev/null | grep -c big)" = 0 ] &&
        verdict no-space-image "" || verdict no-space-image "the image is not as before"
    umount small
else
    echo "end-to-end: SKIPPED no-space: mounting a small file system needs root"
fi

# --- what is put into a VDI stands in the image that others read
head -c 20M /dev/urandom >data
"$anyvisor" disk put good.vdi data /data 2>put.err && qemu-img convert -O raw good.vdi good.raw && debugfs -R "dump /data $work/back" good.raw 2>/dev/null || true
verdict "VDI read by others" "$(cmp data back 2>&1 || cat put.err; e2fsck -fn good.raw >fsck.out 2>&1 || tail -n 3 fsck.out)"

# --- reap leaves a live run alone
"$anyvisor" run "$project/examples/hello-tiny.yaml" --hypervisor qemu --report "$work/report/live" >live.out 2>live.err &
live=$!
until ls "$work"/state/runs/*/journal.jsonl >/dev/null 2>&1 || ! kill -0 $live 2>/dev/null; do sleep 0.05; done
while kill -0 $live 2>/dev/null; do "$anyvisor" reap >>reap.out 2>&1 || true; done
wait $live && expect live 'set(s.values()) == {"success"}' || verdict live "the run ended with $?: $(tail -n 3 live.err)"

# --- an ordinary user
if [ "$(id -u)" = 0 ]; then
    id avuser >/dev/null 2>&1 || useradd -m avuser
    install -d -o avuser "$work/user"
    status=0
    (cd "$work/user" && runuser -u avuser -- env HOME="$work/user" ANYVISOR_STATE="$work/user/state" ANYVISOR_CACHE="$work/user/cache" \
        PATH="$PATH" "$anyvisor" run "$project/examples/hello-tiny.yaml" --hypervisor qemu --report "$work/user/report" >"$work/user.out" 2>"$work/user.err") || status=$?
    [ "$status" = 0 ] && verdict "ordinary user runs" "" || verdict "ordinary user runs" "exit $status: $(tail -n 3 "$work/user.err")"
    status=0
    (cd "$work/user" && runuser -u avuser -- env HOME="$work/user" ANYVISOR_STATE="$work/user/state" PATH="$PATH" \
        sh -ec '"$1" disk create d.vdi --size 256MiB --filesystem ext4; "$1" disk put d.vdi "$1" /program; "$1" disk get d.vdi /program out; cmp "$1" out' sh "$anyvisor" 2>"$work/user.err") || status=$?
    [ "$status" = 0 ] && verdict "ordinary user writes a disk" "" || verdict "ordinary user writes a disk" "exit $status: $(tail -n 3 "$work/user.err")"
fi

verdict "nothing is left at the end" "$(left_over)"
summary
