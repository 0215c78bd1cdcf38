#!/usr/bin/env bash
# compare.sh ANYVISOR [ROUNDS]: what compare adds to a run, and what our processes use while a guest works.
# In turns, ROUNDS times (default 5): one `anyvisor run`, and a comparison of two samples of the same recipe. Prints the median of
# the milliseconds that a sample takes more than a run (the comparison's analysis and report included), then the part of a core that
# all processes of ours, hypervisor not counted, use during ten seconds in which the guest sleeps.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - "$(realpath "$1")" "${2:-5}" <<'PYTHON'
import json, os, statistics, subprocess, sys, tempfile, time

anyvisor, rounds = sys.argv[1], int(sys.argv[2])
work = tempfile.mkdtemp()
os.environ["ANYVISOR_STATE"] = f"{work}/state"
recipe = "guest/benchmarks/boot.yaml"


def run(*words):
    begin = time.monotonic()
    subprocess.run([anyvisor, *words], check=True, capture_output=True)
    return (time.monotonic() - begin) * 1000


def compare(name, blocks):
    return run("compare", recipe, "--hypervisors", "qemu", "--disks", "direct,vdfuse", "--blocks", str(blocks), "--warm-up", "0",
               "--seed", "1", "--report", f"{work}/{name}")


more = []
for turn in range(rounds):
    alone = [run("run", recipe, "--hypervisor", "qemu", "--disk", disk, "--report", f"{work}/run-{turn}-{disk}") for disk in ("direct", "vdfuse")]
    both = compare(f"compare-{turn}", 2)
    more.append((both - 2 * sum(alone)) / 4)
    print(f"round {turn + 1}: runs {alone[0]:.0f} and {alone[1]:.0f} ms, four samples {both:.0f} ms: {more[-1]:+.0f} ms a sample", flush=True)
print(f"compare adds {statistics.median(more):+.0f} ms a sample (median of {rounds})")

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
sys.exit(statistics.median(more) > 100 or part >= 1)
PYTHON
