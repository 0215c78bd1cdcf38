#!/usr/bin/env bash
# compare.sh ANYVISOR [BLOCKS]: what compare adds to a run, and what our processes use while a guest works.
# A comparison of two cells and BLOCKS blocks (default 10), and five single runs: of both, the time that is
# not within a run, by the runs' own clock, as a run takes a second more or less by chance. Prints how much more that is for a sample
# than for a single run, with the analysis and the report at the end; then the part of a core that all processes of ours, hypervisor
# not counted, use during ten seconds in which the guest sleeps.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - "$(realpath "$1")" "${2:-10}" <<'PYTHON'
import json, os, pathlib, statistics, subprocess, sys, tempfile, time

anyvisor, blocks = sys.argv[1], int(sys.argv[2])
work = tempfile.mkdtemp()
os.environ["ANYVISOR_STATE"] = f"{work}/state"
recipe = "guest/benchmarks/boot.yaml"


def run(*words):
    begin = time.monotonic()
    subprocess.run([anyvisor, *words], check=True, capture_output=True)
    return (time.monotonic() - begin) * 1000


def within(folder):
    lines = (pathlib.Path(folder) / "events.jsonl").read_text().splitlines()
    return next(e["sinceStartMs"] for e in map(json.loads, lines) if e["kind"] == "run-end")


single = []
for turn in range(5):
    report = f"{work}/run-{turn}"
    single.append(run("run", recipe, "--hypervisor", "qemu", "--disk", "direct", "--report", report) - within(report))
whole = run("compare", recipe, "--hypervisors", "qemu", "--disks", "direct,vdfuse", "--blocks", str(blocks), "--warm-up", "0", "--seed", "1",
            "--report", f"{work}/compare")
samples = sorted(pathlib.Path(f"{work}/compare/runs").iterdir())
assert len(samples) == 2 * blocks, samples
beside = (whole - sum(map(within, samples))) / len(samples)
alone = statistics.median(single)
print(f"beside the run itself: a single run {alone:.0f} ms (median of {len(single)}), a sample {beside:.0f} ms (mean of {len(samples)}): "
      f"compare adds {beside - alone:+.0f} ms a sample  (goal: at most 100)", flush=True)

recipe = f"{work}/sleep.yaml"
with open(recipe, "w") as file:
    file.write("name: sleep\nimage: tiny\nmachine: {memory: 256MiB}\ntasks:\n  - {id: sleep, run: sleep 14}\n")
child = subprocess.Popen([anyvisor, "compare", recipe, "--hypervisors", "qemu", "--disks", "direct,vdfuse", "--blocks", "2", "--warm-up", "0",
                          "--report", f"{work}/sleep"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def used():
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name, rest = open(f"/proc/{pid}/stat").read().rsplit(")", 1)
            ours = f"ANYVISOR_STATE={work}/state" in open(f"/proc/{pid}/environ").read()
        except OSError:
            continue
        if ours and "anyvisor" in name:
            fields = rest.split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


while subprocess.run(f"grep -rqs '\"task-start\"' {work}/sleep/runs/.0*", shell=True).returncode:
    time.sleep(0.1)
time.sleep(1)
before, begin = used(), time.monotonic()
time.sleep(10)
part = (used() - before) / (time.monotonic() - begin) * 100
child.kill()
child.wait()
subprocess.run([anyvisor, "reap"], capture_output=True)
print(f"our processes use {part:.2f} % of a core while the guest sleeps")
subprocess.run(["rm", "-rf", work])
sys.exit(beside - alone > 100 or part >= 1)
PYTHON
