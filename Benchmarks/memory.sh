#!/usr/bin/env bash
# memory.sh ANYVISOR: the resident memory at most of the largest process of a command, as the kernel counted it.
anyvisor=$1
source "$(dirname "$0")/common.sh"
trap 'rm -rf "$work"' EXIT

peak() { # LABEL GOAL-IN-MIB COMMAND...
    python3 - "$@" <<'P'
import resource, subprocess, sys
label, goal, command = sys.argv[1], sys.argv[2], sys.argv[3:]
done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
if done.returncode:
    sys.exit(f"bench: {label}: {done.stderr.decode()}")
mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{label:52} {mib:9.1f} MiB  (goal: at most {goal} MiB)")
P
}

truncate -s 100G "$work/sparse"
for i in $(seq 0 99); do printf 'at %s GiB' "$i" | dd of="$work/sparse" bs=1 seek=$((i * 1073741824 + 7777)) conv=notrunc status=none; done
for folder in $(seq 100); do
    mkdir -p "$work/tree/d$folder"
    for file in $(seq 1000); do echo "$file" >"$work/tree/d$folder/f$file"; done
done
"$anyvisor" disk create "$work/large.vdi" --format vdi --size 1T --filesystem ext4 2>/dev/null
"$anyvisor" disk create "$work/tree.vdi" --format vdi --size 4G --filesystem ext4 2>/dev/null
echo "memory of the largest process of a command"
for backend in direct vdfuse; do
    peak "put 100 GiB, sparse, into 1 TiB, $backend" 64 "$anyvisor" disk put "$work/large.vdi" "$work/sparse" "/$backend" --disk "$backend"
    peak "get 100 GiB, sparse, from 1 TiB, $backend" 64 "$anyvisor" disk get "$work/large.vdi" "/$backend" "$work/back" --disk "$backend"
    rm -f "$work/back"
    peak "put 100,000 files, $backend" 128 "$anyvisor" disk put "$work/tree.vdi" "$work/tree" "/$backend" --disk "$backend"
    peak "get 100,000 files, $backend" 128 "$anyvisor" disk get "$work/tree.vdi" "/$backend" "$work/out" --disk "$backend"
    rm -rf "$work/out"
done
