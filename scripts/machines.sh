#!/usr/bin/env bash
# machines.sh ANYVISOR: machines and snapshots of one's own by the verbs `vm` and `snapshot`, and what can go wrong with them: each
# ends in one clear error, and the machine can be used or removed afterwards. HYPERVISOR names another backend than qemu.
anyvisor=$(realpath "$1") hypervisor=${HYPERVISOR:-qemu}
source "$(dirname "$0")/common.sh"
cd "$work"
# A boot sector that prints A on COM1 and waits for ever: int 14h; sti; hlt; jmp
printf '\x31\xc0\x8e\xd8\xb8\xe3\x00\x31\xd2\xcd\x14\xb8\x41\x01\x31\xd2\xcd\x14\xfb\xf4\xeb\xfc' >sector
truncate -s 510 sector
printf '\x55\xaa' >>sector
name=box-$$
odd=$'a\nb'
vm() { local verb=$1; shift; "$anyvisor" vm "$verb" "$@" --hypervisor "$hypervisor" 2>"$work/err"; }
snapshot() { local verb=$1; shift; "$anyvisor" snapshot "$verb" "$name" "$@" --hypervisor "$hypervisor" 2>"$work/err"; }
fresh() { # a machine over a new disk, in FOLDER when one is named
    disk=${1:-$work}/box.qcow2
    vm destroy $name || true
    rm -f "$disk"
    truncate -s 64M sector
    qemu-img convert -O qcow2 sector "$disk"
    vm create $name --disk-image "$disk" --memory 32MiB
}
state_is() { [ "$(vm state $name)" = "$1" ] || echo "the state is $(vm state $name; cat "$work/err")"; }
emulator() { pgrep -f "guest=anyvisor-vm-$name," || true; }
fails() { # EXIT TEXT COMMAND...: what is wrong when the command does not fail so
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >/dev/null || status=$?
    [ "$status" = "$wanted" ] || echo "exit $status, not $wanted: $(cat "$work/err")"
    grep -q -- "$text" "$work/err" || echo "the error does not say '$text': $(cat "$work/err")"
    [ "$(grep -c '^anyvisor: ' "$work/err")" = 1 ] || echo "not one error: $(cat "$work/err")"
}
speaks() { for _ in $(seq 100); do [ -z "$(vm console $name)" ] || return 0; sleep 0.1; done; echo "the console stays empty"; }

fresh
verdict "a machine runs, speaks and is listed" "$(vm start $name; state_is running; speaks; vm list | grep -q "^$name  *running" || echo "not listed")"
verdict "a picture is taken, and not over another one" "$(vm screenshot $name shot.png; file -b shot.png | grep -q PNG || echo "no PNG"; fails 2 exists vm screenshot $name shot.png)"
verdict "a name that is taken is refused" "$(fails 2 exists vm create $name --disk-image "$disk")"
verdict "memory and disk come back" "$(snapshot create early --memory; snapshot create late; snapshot restore early; state_is running
    snapshot list | grep -q '^early \*' || snapshot list)"
verdict "disks of a running machine are not taken back" "$(fails 2 "stop it" snapshot restore late; state_is running)"
verdict "an unknown snapshot, an odd name" "$(fails 2 "no snapshot" snapshot restore none; fails 2 "control character" snapshot create "$odd")"
verdict "a QEMU that is killed is a crash, and a restore settles it" "$(kill -9 $(emulator); sleep 0.3; state_is crashed
    snapshot restore late; state_is stopped; vm start $name; state_is running)"
verdict "a QEMU that stands still does not keep anybody from stopping it" "$(kill -STOP $(emulator); vm stop $name --force; state_is stopped)"
verdict "the snapshot of a machine that is off starts it where it was" "$(snapshot restore early; state_is running)"
verdict "a destroyed machine leaves no snapshot in the image" "$(vm destroy $name; qemu-img snapshot -l "$disk"; qemu-img check -q "$disk" 2>&1; emulator)"

fresh
verdict "a snapshot that somebody removed is missed by name" "$(snapshot create a; qemu-img snapshot -d "$(qemu-img snapshot -l "$disk" | awk 'END {print $2}')" "$disk"
    fails 2 "any more" snapshot restore a; snapshot delete a; snapshot list | grep '^a' || true)"
verdict "a disk that two machines have holds no snapshot" "$(vm create $name-2 --disk-image "$disk"; fails 75 "$name-2" snapshot create a; vm destroy $name-2)"
vm destroy $name
cp sector plain.raw
vm create $name --disk-image plain.raw
verdict "a raw disk holds none, and the remedy is named" "$(fails 16 "disk create" snapshot create a)"
vm destroy $name

mkdir small
if [ "$(id -u)" = 0 ]; then
    mount -t tmpfs -o size=3m scripts-own small
    fresh "$work/small"
    verdict "a host that is full during a snapshot" "$(vm start $name; speaks; head -c 2500k /dev/urandom >small/filler || true; fails 16 "space" snapshot create a --memory
        rm small/filler; vm stop $name --force; state_is stopped; snapshot list | grep '^a' || true; qemu-img check -q "$disk" 2>&1 | grep -v Leaked || true)"
    vm destroy $name
    umount small
else
    echo "machines: SKIPPED: filling a small file system needs root to mount it"
fi

fresh
vm start $name
for n in $(seq "${KILLS:-10}"); do
    "$anyvisor" snapshot create $name s --memory --hypervisor "$hypervisor" >/dev/null 2>&1 &
    victim=$!
    sleep "0.$(printf '%02d' $((RANDOM % 40)))"
    # the command and its plugin, which the next one then has to do without
    kill -9 $victim $(pgrep -P $victim) 2>/dev/null || true
    wait $victim 2>/dev/null || true
    "$anyvisor" reap >/dev/null 2>&1 || true
    problem=$(state_is running
        if snapshot list | grep -q '^s '; then snapshot restore s; else snapshot create s --memory; fi || cat "$work/err"
        snapshot delete s || cat "$work/err")
    verdict "a command killed while it takes a snapshot, $n" "$problem"
done
verdict "what they left goes with the machine" "$(vm destroy $name; qemu-img snapshot -l "$disk"; qemu-img check -q "$disk" 2>&1 | grep -v -i leak || true; emulator)"
verdict "nothing is left at the end" "$(left_over)"
summary
