#!/usr/bin/env bash
# matrix.sh ANYVISOR: many runs in one command, on real machines: each sees its own values, one that fails fails alone, an
# interrupt or a kill -9 in the middle leaves nothing, and kinds of machines that do not go together take turns. HYPERVISOR names
# another backend than qemu.
anyvisor=$(realpath "$1") hypervisor=${HYPERVISOR:-qemu}
source "$(dirname "$0")/common.sh"
cd "$work"
run() { # ARGUMENT...: into report; leaves its status, stdout and stderr
    rm -rf report
    status=0
    "$anyvisor" run "$@" --hypervisor "$hypervisor" --report report >run.out 2>run.err || status=$?
}
begin() { # ARGUMENT...: the same in the background
    rm -rf report
    "$anyvisor" run "$@" --hypervisor "$hypervisor" --report report >run.out 2>run.err &
    run=$!
}
exits() { [ "$status" = "$1" ] || echo "exit $status, not $1: $(tail -n 3 run.err)"; }
holds() { # PYTHON-EXPRESSION over b (runs.json) and text(RUN, TASK)
    python3 - "$work/report" "$1" 2>&1 <<'PY' || true
import json, pathlib, sys
d = pathlib.Path(sys.argv[1])
b = json.loads((d / "runs.json").read_text())
status = [r["status"] for r in b["runs"]]
text = lambda run, task: next((d / run["folder"]).glob(f"tasks/*-{task}/stdout")).read_text()
sys.exit(None if eval(sys.argv[2]) else f"not so: {sys.argv[2]}; {b}")
PY
}
machines() { mine "guest=anyvisor-[a-z0-9]*-1"; }
await() { # SECONDS COMMAND...: until it prints something
    local _ limit=$1
    shift
    for _ in $(seq $((limit * 20))); do
        [ -z "$("$@")" ] || return 0
        sleep 0.05
    done
    echo "not within $limit s: $*"
}
two_machines() { [ "$(machines | wc -l)" -lt 2 ] || echo yes; }
one_done() { compgen -G 'report/*/result.json' || true; }

cat >product.yaml <<'YAML'
name: cell
image: tiny
matrix:
  a: [x, y]
  b-c: ["1.10", "two words"]
machine: {memory: 256MiB}
tasks:
  - id: seen
    run: |
      echo "${{ matrix.a }}|${{matrix.b-c}}|$MATRIX_A|$MATRIX_B_C"
      sleep 1
YAML
# The processes of each run carry its own mark, while several run.
marks() {
    local p
    for p in $(mine 'anyvisor-(libvirt|direct)'); do tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | sed -n 's/^ANYVISOR_RUN=//p'; done | sort -u
}
begin product.yaml --jobs 2
problem=$(await 30 two_machines)
found=$(marks | wc -l)
[ "$found" = 2 ] || problem="$problem $found marks at the plugins of two runs"
status=0
wait $run || status=$?
verdict "two runs at once have plugins of their own" "$problem"
verdict "a product of 2 x 2 passes, each with its own values" "$(exits 0
    holds 'status == ["passed"] * 4 and [r["matrix"] for r in b["runs"]] == [{"a": a, "b-c": c} for a in "xy" for c in ("1.10", "two words")]'
    holds 'all(text(r, "seen") == "{0}|{1}|{0}|{1}\n".format(r["matrix"]["a"], r["matrix"]["b-c"]) for r in b["runs"])'
    left_over)"

sed -e 's/b-c: .*/b-c: [one]/' -e 's/sleep 1/[ "$MATRIX_A" = y ]/' product.yaml >odd.yaml
run odd.yaml --jobs 2
verdict "one that fails fails alone" "$(exits 1; holds 'status == ["failed", "passed"] and b["totals"] == {"passed": 1, "failed": 1}')"

sed 's/{{matrix.b-c}}/{{ matrix.b_c }}/' product.yaml >bad.yaml
run bad.yaml
verdict "a bad reference has its place, and nothing is made" "$(exits 2
    grep -q "^bad.yaml:10:29: unknown reference 'matrix.b_c', did you mean 'matrix.b-c'" run.err || cat run.err
    [ ! -e report ] || echo "a report was made"; left_over)"

cat >large.yaml <<'YAML'
name: large
image: tiny
matrix: {memory: [256MiB, 64TiB]}
machine: {memory: "${{ matrix.memory }}"}
tasks: [{id: only, run: "true"}]
YAML
run large.yaml
verdict "one that does not fit this host is left out" "$(exits 16
    holds 'status == ["passed", "error"] and "lower machine.memory" in b["runs"][1]["why"] and "folder" not in b["runs"][1]')"
sed -i 's/256MiB, //' large.yaml
run large.yaml
verdict "nothing is made for one alone that does not fit" "$(exits 16; grep -q 'lower machine.memory' run.err || cat run.err; [ ! -e report ] || echo "a report was made")"

sed -i 's/sleep 1/sleep 60/' product.yaml
begin product.yaml --jobs 2
problem=$(await 30 two_machines)
kill -INT $run
status=0
wait $run || status=$?
verdict "an interrupt ends those that run and begins no other" "$problem$(exits 130
    holds 'status == ["interrupted"] * 2 + ["not run"] * 2 and b["exitCode"] == 130'
    left_over)"

sed -i 's/sleep 60/[ "$MATRIX_B_C" = 1.10 ] || sleep 60/' product.yaml
for n in $(seq "${KILLS:-1}"); do
    begin product.yaml --jobs 2
    problem=$(await 30 one_done; await 30 two_machines)
    sleep "0.$((RANDOM % 10))"
    kill -9 $run
    wait $run 2>/dev/null || true
    "$anyvisor" reap >reap.out 2>reap.err || problem="$problem reap: $(tail -n 2 reap.err)"
    verdict "kill -9 in the middle and reap leave nothing but what was done, $n" "$problem$(left_over
        [ ! -e report/runs.json ] || echo "a summary of what did not end"
        find report -mindepth 1 -maxdepth 1 -name '.*'
        for d in report/*/; do [ -e "$d/result.json" ] || echo "half a result in $d"; done)"
done

# Two kinds of hypervisor that want the same part of the host whole, as KVM and VirtualBox do; this one's machines play both.
for kind in left right; do
    mkdir -p "kinds/$kind"
    sed -e "s/\"name\": \"$hypervisor\"/\"name\": \"$kind\"/" -e "/\"exclusive\"/d" \
        -e "s/^.*\"licence\"/\"exclusive\": {\"matrix$$\": \"$kind\"},\n&/" "$project/plugins/$hypervisor/plugin.json" >"kinds/$kind/plugin.json"
done
cat >alone.yaml <<'YAML'
name: alone
image: tiny
tasks: [{id: only, run: "true"}]
YAML
sed 's/"true"/sleep 300/' alone.yaml >long.yaml
shares() { find /run/lock /tmp -maxdepth 1 -name "anyvisor-matrix$$-*" 2>/dev/null; }
one_machine() { machines | head -n 1; }
waits() { grep -o 'waits for others: left has .*: run [a-z0-9]*, process [0-9]*' second.err || true; }
export ANYVISOR_PLUGIN_PATH=$work/kinds
"$anyvisor" run long.yaml --hypervisor left --report first >first.out 2>first.err &
first=$!
problem=$(await 60 one_machine)
"$anyvisor" run alone.yaml --hypervisor right --report second >second.out 2>second.err &
second=$!
problem="$problem$(await 60 waits)"
status=0
"$anyvisor" run alone.yaml --hypervisor right,"$hypervisor" --report third >run.out 2>run.err || status=$?
verdict "a kind that cannot go with one that runs is passed over, and that says why" "$problem$(exits 0
    grep -q "right is passed over.*left has this host's .*process $first" run.err || cat run.err)"
status=0
"$anyvisor" run alone.yaml --hypervisor left --report fourth >run.out 2>run.err || status=$?
verdict "runs of one kind go on side by side" "$(exits 0; kill -0 $first 2>/dev/null || echo "the first has ended")"
kill -9 $first
wait $first 2>/dev/null || true
status=0
wait $second || status=$?
cp second.err run.err
verdict "one that waited goes on when the other was killed" "$(exits 0)"
"$anyvisor" reap >/dev/null 2>&1 || true
verdict "nothing is left of the turns" "$(left_over; shares)"
unset ANYVISOR_PLUGIN_PATH

if [ "$(id -u)" = 0 ]; then
    id avuser >/dev/null 2>&1 || useradd -m avuser
    chmod 755 "$work"
    install -d -o avuser "$work/user" "$work/user/cache" "$work/user/cache/images"
    cp -r --sparse=always "$("$anyvisor" image build tiny 2>/dev/null)" "$work/user/cache/images/"
    chown -R avuser "$work/user/cache"
    sed -e 's/ || sleep 60/ || :/' -e 's/b-c: .*/b-c: [one]/' product.yaml >"$work/user/product.yaml"
    status=0
    (cd "$work/user" && runuser -u avuser -- env HOME="$work/user" ANYVISOR_STATE="$work/user/state" ANYVISOR_CACHE="$work/user/cache" \
        PATH="$PATH" "$anyvisor" run product.yaml --jobs 2 --hypervisor "$hypervisor" --report report >"$work/run.out" 2>"$work/run.err") || status=$?
    verdict "an ordinary user has many runs" "$(exits 0; [ "$(ls "$work/user/report" | wc -l)" = 3 ] || ls -A "$work/user/report")"
fi
verdict "nothing is left at the end" "$(left_over)"
summary
