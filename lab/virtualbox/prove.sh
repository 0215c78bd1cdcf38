# prove.sh [FILTER], inside the VirtualBox lab: what Debian's libvirt says of this VirtualBox, and what comes of a recipe by `virtualbox`
# then; faults; and the conformance suite, by the backend `vboxmanage` and, through a libvirt that was ported to this VirtualBox, by `vbox`.
export ANYVISOR_STATE=/tmp/state ANYVISOR_CACHE=/share/cache
anyvisor=/share/bin/anyvisor
worst=0
step() { # COMMAND...
    local begun=$SECONDS status=0
    echo "\$ $(basename "$1") ${*:2}"
    "$@" 2>&1 || status=$?
    echo "-> exit status $status, $((SECONDS - begun)) s"
    echo
    [ "$status" = 0 ] || worst=1
}
echo "Linux $(uname -r), VirtualBox $(VBoxManage --version 2>/dev/null | tail -n 1), driverless, libvirt $(virsh --version)"
echo
# libvirt's own driver knows each VirtualBox by its API version; what it says of this one is for the record.
echo "\$ virsh -c vbox:///session version"
LIBVIRT_LOG_FILTERS=1:vbox LIBVIRT_LOG_OUTPUTS=1:file:/tmp/libvirtd.log libvirtd -d
for _ in $(seq 100); do [ -S /run/libvirt/libvirt-sock ] && break; sleep 0.1; done
virsh -c vbox:///session version 2>&1 || true
grep -o "Libvirt doesn't support.*" /tmp/libvirtd.log | sort -u || true
kill "$(cat /run/libvirtd.pid)"
echo
# The recipe's guest needs minutes, most of them for its kernel, so the rest goes on beside it, with a VirtualBox of its own. Its clock
# runs at a fifth of the host's: to an interpreter that has only a part of a processor each tick is work for longer than until the
# next one, and a kernel then gets nowhere.
recipe() ( # NAME HYPERVISOR
    export VBOX_IPC_SOCKETID=$1 VBOX_USER_HOME=/tmp/$1
    cp -r /root/.config/VirtualBox "$VBOX_USER_HOME"
    /usr/lib/virtualbox/VBoxManage -q setextradata global VBoxInternal/TM/WarpDrivePercentage 20
    [ "$2" != vbox ] || ported
    step $anyvisor run /share/examples/everywhere.yaml --hypervisor "$2" --report "/out/$1"
    exit $worst
)
# The libvirt of the lab's own, which drives the VirtualBox of the environment.
ported() {
    rm -f /run/libvirt/libvirt-sock
    LD_LIBRARY_PATH=/opt/libvirt-vbox/lib/x86_64-linux-gnu /opt/libvirt-vbox/sbin/libvirtd -d
    for _ in $(seq 100); do [ -S /run/libvirt/libvirt-sock ] && break; sleep 0.1; done
}
# libvirt's driver first, and VirtualBox's command line where that does not do.
recipe report virtualbox >/tmp/recipe.log &
[ -n "${1:-}" ] || step /share/scripts/virtualbox-faults.sh $anyvisor
step $anyvisor conformance --verbose --cells vboxmanage ${1:+--filter "$1"}
wait $! || worst=1
cat /tmp/recipe.log
echo "From here on with libvirt 11.3.0, ported to this VirtualBox"
echo
[ -n "${1:-}" ] || { recipe vbox vbox || worst=1; }
[ ! -e /run/libvirtd.pid ] || kill "$(cat /run/libvirtd.pid)"
ported
step $anyvisor conformance --verbose --cells vbox ${1:+--filter "$1"}
exit $worst
