# common.sh, for the scripts that break things: a work folder and a state of their own, the count of what held, and the search
# for what their commands left behind. To be sourced by bash.
set -euo pipefail
script=$(basename "$0" .sh)
project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
export ANYVISOR_STATE=$work/state
passed=0 failed=0
touch "$work/begin"

at_end() {
    kill -9 $(jobs -p) 2>/dev/null || true
    "$anyvisor" reap >/dev/null 2>&1 || true
    awk -v work="$work/" 'index($2, work) == 1 {print $2}' /proc/mounts | xargs -r umount -l 2>/dev/null || true
    rm -rf "$work"
}
trap at_end EXIT

verdict() { # NAME PROBLEM
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        echo "$script: $1: ok"
    else
        failed=$((failed + 1))
        echo "$script: $1: FAILED: $2"
    fi
}
summary() {
    echo "$script: $passed passed, $failed failed"
    [ "$failed" = 0 ]
}
# Processes of this script's commands whose command line matches; libvirt starts a machine with an environment of its own.
mine() { # PATTERN
    local p
    for p in $(pgrep -f -- "$1" || true); do
        if grep -qzs "^ANYVISOR_JOURNAL=$work/" "/proc/$p/environ" || grep -qas "$work/" "/proc/$p/cmdline"; then echo "$p"; fi
    done
}
# Folders for sockets that no live run claims. One of somebody else's may be just begun or about to go, so only what stays counts.
short_folders() {
    for p in $(find /tmp -maxdepth 1 -name "av-$(id -u)-*" -newer "$work/begin" 2>/dev/null); do
        grep -qzs "^ANYVISOR_RUN=${p##*-}\$" /proc/[0-9]*/environ || echo "$p is left"
    done
}
eventually_none() { # COMMAND: what it still prints after 5 s
    local found
    for _ in $(seq 50); do
        found=$("$1")
        [ -n "$found" ] || return 0
        sleep 0.1
    done
    echo "$found"
}
left_over() {
    local p
    for p in $(mine 'anyvisor|qemu|fuse'); do echo "process $p is left"; done
    find "$work"/state/runs "$work"/*/state/runs -mindepth 1 -maxdepth 1 -printf 'the run folder %p is left\n' 2>/dev/null || true
    # Those that a script mounts itself say so.
    ! grep "$work" /proc/mounts | grep -v '^scripts-own ' || echo "a mount is left"
    ! losetup -a 2>/dev/null | grep "$work" || echo "a loop device is left"
    find "$work" -maxdepth 1 -name '*.redo*'
    eventually_none short_folders
}
