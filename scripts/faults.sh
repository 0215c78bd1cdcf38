#!/usr/bin/env bash
# faults.sh ANYVISOR: what can go wrong with a libvirt daemon of somebody else's, while a run uses its machine there. Each ends in a
# typed error, the machine is gone and the next run is fine. As root it goes on as an ordinary user, whose session daemon libvirt
# itself starts.
if [ "$(id -u)" = 0 ]; then
    id avuser >/dev/null 2>&1 || useradd -m avuser
    home=$(mktemp -d)
    trap 'rm -rf "$home"' EXIT
    chown avuser "$home"
    runuser -u avuser -- env HOME="$home" TMPDIR="$home" ANYVISOR_CACHE="$home/cache" PATH="$PATH" "$(realpath "$0")" "$(realpath "$1")"
    exit
fi
anyvisor=$(realpath "$1")
source "$(dirname "$0")/common.sh"
cd "$work"
export XDG_RUNTIME_DIR=$work/runtime
mkdir -m 700 "$XDG_RUNTIME_DIR"
uri=qemu:///session
daemon() { pgrep -u "$(id -u)" -x libvirtd || true; }
end_daemon() { pkill -KILL -u "$(id -u)" -x 'libvirtd|virtlogd' || true; }
trap 'end_daemon; at_end' EXIT
"$anyvisor" image build tiny >/dev/null 2>&1

recipe() { # URI
    cat >run.yaml <<END
name: run
image: tiny
machine: {memory: 128MiB}
hypervisor: {prefer: [qemu], options: {qemu: {uri: "$1"}}}
disk: [direct]
deadlines: {call: 4s}
tasks: [{id: it, run: "echo here >/dev/console; sleep \${SECONDS_TO_GO:-0}", env: {SECONDS_TO_GO: "${2:-0}"}}]
END
}
domains() { timeout 10 virsh -q -c $uri list --all --name | sed '/^$/d; s/^/domain /; s/$/ is left/'; }
runs() { rm -rf out; status=0; "$anyvisor" run run.yaml --report out >out.txt 2>err || status=$?; }
refused() { # EXIT CODE-WORD TEXT: what is wrong when the run was not refused so
    [ "$status" = "$1" ] || echo "exit $status, not $1: $(tail -n 2 err)"
    grep -q "\[$2," err || echo "not '$2': $(tail -n 2 err)"
    grep -q -- "$3" err || echo "does not say '$3': $(tail -n 2 err)"
}
fine() { # a run after it
    recipe $uri
    runs
    [ "$status" = 0 ] || echo "the next run ends with $status: $(tail -n 2 err)"
    domains
    left_over
}
harm() { # NAME EXIT CODE-WORD TEXT COMMAND [COMMAND]: something happens in the middle of the task, and after it
    rm -rf out
    recipe $uri 40
    "$anyvisor" run run.yaml --report out >out.txt 2>err &
    local run=$! begun=$SECONDS
    for _ in $(seq 600); do grep -qs '^here' state/runs/*/work/console.log && break; sleep 0.1; done
    eval "$5"
    status=0
    wait $run || status=$?
    problem=$(refused "$2" "$3" "$4"; mine "guest=anyvisor-" | sed 's/$/ is a machine that still runs/')
    end_daemon
    eval "${6:-}"
    verdict "$1" "$problem$(fine)"
}

verdict "a run by the user's own libvirt daemon" "$(fine)"
harm "the daemon is killed while a task runs" 16 unavailable "daemon is gone" 'kill -KILL $(daemon)'
# What stands still forgets nothing: the definition of the machine, which is off, is left to reap.
harm "the daemon stands still while a task runs" 16 timeout "machine.state" 'kill -STOP $(daemon)' \
    'grep -q "anyvisor reap. removes it" err || problem="$problem nobody says that it is left"; "$anyvisor" reap >/dev/null 2>&1'
harm "somebody else removes the domain" 16 notFound "somebody" \
    'domain=$(virsh -q -c $uri list --name | head -n 1); virsh -q -c $uri undefine "$domain" >/dev/null; virsh -q -c $uri destroy "$domain" >/dev/null'

recipe "qemu+unix:///session?socket=$work/nobody"
runs
verdict "nobody listens" "$(refused 16 unavailable "$work/nobody")"
python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.close()' "$work/refused"
recipe "qemu+unix:///session?socket=$work/refused"
runs
verdict "the connection is refused" "$(refused 16 unavailable "refused")"
chmod 000 refused
runs
verdict "the socket is not this user's" "$(refused 16 permissionDenied "$work/refused")"

# A libvirt of another host, as far as anyvisor can tell: the connection goes through a program. virsh is its own witness.
printf '#!/bin/sh\nXDG_RUNTIME_DIR=%s exec virt-ssh-helper qemu:///session\n' "$XDG_RUNTIME_DIR" >elsewhere
chmod 755 elsewhere
remote="qemu+ext://elsewhere/session?command=$work/elsewhere"
truncate -s 1M box.raw
vm() { "$anyvisor" vm "$@" >vm.out 2>err || { echo "vm $*: $(tail -n 2 err)"; return; }; }
state() { timeout 10 virsh -q -c $uri domstate anyvisor-vm-box 2>&1 | head -n 1; }
problem=$(vm create box --disk-image box.raw --uri $uri; vm start box --uri "$remote")
[ "$(state)" = running ] || problem="$problem; it is $(state) after the start"
problem="$problem$(vm list --uri "$remote"; grep -q '^box *running' vm.out || cat vm.out; vm stop box --force --uri "$remote")"
[ "$(state)" = "shut off" ] || problem="$problem; it is $(state) after the stop"
verdict "a machine of another host's libvirt is started, listed, stopped and removed" "$problem$(vm destroy box --uri "$remote"; domains)"
recipe "$remote"
runs
verdict "another host's libvirt is not given this host's files" "$(refused 16 unsupported "run on another host, which does not have this host's $work"
    domains)"
end_daemon
verdict "nothing is left at the end" "$(left_over)"
summary
