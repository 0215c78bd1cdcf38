#!/usr/bin/env bash
# virtualbox-faults.sh ANYVISOR: what can go wrong with VirtualBox's service and its machine while a run uses them. Each ends in a typed
# error that has the guest's last words, the machine is gone, and the next one is fine. VirtualBox gets a service and settings of its own
# for it; those of the user's are copied, and his machines are left alone.
anyvisor=$(realpath "$1")
source "$(dirname "$0")/common.sh"
cd "$work"
# A boot sector that prints "here" on COM1 and stays: the code of Sources/Backends/Support/ProofSector.swift without its end.
truncate -s 1M stays.raw
printf '\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xb8\xe3\x00\x31\xd2\xcd\x14\xbe\x25\x7c\xac\x84\xc0\x74\x08\xb4\x01\x31\xd2\xcd\x14\xeb\xf3\xfb\xf4\xeb\xfdhere\r\n' |
    dd of=stays.raw conv=notrunc status=none
printf '\x55\xaa' | dd of=stays.raw bs=1 seek=510 conv=notrunc status=none
cat >run.yaml <<END
name: run
image: {path: stays.raw, format: raw}
machine: {memory: 32MiB}
hypervisor: [vboxmanage]
disk: [direct]
deadlines: {call: 1min, boot: 5min}
tasks: [{id: it, run: "true"}]
END
box=/usr/lib/virtualbox/VBoxManage
export VBOX_IPC_SOCKETID=${work##*.} VBOX_USER_HOME=$work/virtualbox
mkdir "$VBOX_USER_HOME"
cp ~/.config/VirtualBox/VirtualBox.xml "$VBOX_USER_HOME" 2>/dev/null || true
ours() { for p; do ! grep -qzsx "VBOX_IPC_SOCKETID=$VBOX_IPC_SOCKETID" "/proc/$p/environ" || echo "$p"; done; }
service() { ours $(pgrep -x VBoxSVC); }
machine() { ours $(pgrep -f -- '--comment anyvisor-'); }
trap 'kill -KILL $(machine) $(service) 2>/dev/null; at_end' EXIT
before=$("$box" -q list vms)
machines() { timeout 20 "$box" -q list vms | grep -vxF -- "$before" | sed 's/$/ is on the list still/' || true; }
media() { for kind in hdds dvds; do timeout 20 "$box" -q list $kind | grep "Location.*$work" || true; done; }
running() { machine | sed 's/.*/process & of a machine runs still/'; }
next() { "$anyvisor" vm "$@" --hypervisor vboxmanage; }
fine() { # a machine after it
    { next create next --disk-image stays.raw --memory 32MiB && next start next; } >/dev/null 2>err2 ||
        echo "the next machine: $(tail -n 1 err2)"
    for _ in $(seq 100); do
        ! next console next 2>/dev/null | grep -q here || break
        sleep 0.1
    done
    next console next 2>&1 | grep -q here || echo "the next machine says nothing"
    next destroy next >/dev/null 2>err2 || echo "the next machine stays: $(tail -n 1 err2)"
    eventually_none running
    machines
    media
    left_over
}
# The machine's moments: its guest speaks and who started it has ended; its process is there.
boots() { grep -qs '^here' state/runs/*/work/console.log && [ -z "$(ours $(pgrep -f 'VBoxManage.* startvm'))" ]; }
starts() { [ -n "$(machine)" ]; }
harm() { # NAME CODE-WORD TEXT COMMAND [COMMAND]: something happens while the guest boots, and after the run
    rm -rf out
    "$anyvisor" run run.yaml --report out >out.txt 2>err &
    local run=$! status=0 begun=$SECONDS
    for _ in $(seq 6000); do
        ! ${when:-boots} || break
        sleep 0.01
    done
    eval "$4"
    wait $run || status=$?
    problem=$(
        [ "$status" = 16 ] || echo "exit $status, not 16: $(tail -n 2 err)"
        grep -q "\[$2," err || echo "not '$2': $(tail -n 2 err)"
        grep -q -- "$3" err || echo "does not say '$3': $(tail -n 2 err)"
        [ -n "${when:-}" ] || grep -rqs '"console" *: *"here' out || echo "the guest's last words are not in the result"
        eventually_none running
    )
    eval "${5:-}"
    verdict "$1, $((SECONDS - begun)) s" "$problem$(fine)"
    [ -z "${SHOW:-}" ] || cat err
}

verdict "a machine without a fault" "$(fine)"
harm "the service is killed" internal "ended (crashed)" 'kill -KILL $(service)'
# VirtualBox's command line then ends, or waits for the answer that does not come.
when=starts harm "the service is killed while it starts the machine" 'unavailable\|timeout' VBoxSVC 'kill -KILL $(service)'
# What VirtualBox knows of the machine, which is off, is left to reap.
harm "the service stands still" timeout "VBoxSVC may hang" 'kill -STOP $(service)' \
    'kill -CONT $(service); grep -q "anyvisor reap. removes it" err || problem="$problem nobody says that it is left"; "$anyvisor" reap >/dev/null 2>&1'
harm "the machine's process is killed" internal "ended (crashed)" 'kill -KILL $(machine)'
# A restore that leaves a block behind: what VirtualBox made is given one before it is looked at.
mkdir bin
cat >bin/VBoxManage <<END
#!/bin/bash
"$box" "\$@" || exit
case " \$* " in *" restore "*)
    layer=\$("$box" -q showvminfo "\$3" --machinereadable | sed -n 's/^"IDE-0-0"="\(.*\)"/\1/p')
    map=\$(od -An -tu4 -j \$((0x154)) -N 4 "\$layer")
    printf '\1' | dd of="\$layer" bs=1 seek=\$((0x184)) conv=notrunc status=none
    head -c 4 /dev/zero | dd of="\$layer" bs=1 seek=\$map conv=notrunc status=none
    truncate -s +1M "\$layer" ;;
esac
END
chmod +x bin/VBoxManage
"$anyvisor" disk create layer.vdi --format vdi --size 8M >/dev/null
next create next --disk-image layer.vdi --memory 32MiB >/dev/null 2>&1
snapshot() { "$anyvisor" snapshot "$1" next a --hypervisor vboxmanage; }
verdict "a restore that leaves a block behind is found" "$(
    snapshot create 2>&1 >/dev/null
    status=0
    PATH=$work/bin:$PATH snapshot restore >/dev/null 2>err || status=$?
    [ "$status" = 16 ] || echo "exit $status, not 16"
    grep -q "1 of its blocks is not" err || echo "does not say so: $(tail -n 2 err)"
    snapshot restore 2>&1 >/dev/null
    next destroy next 2>&1 >/dev/null
    machines
    media
    left_over
)"
summary
