# prove.sh [FILTER], inside the Xen lab: a recipe, which makes the hypervisor `xen` prove that it boots a 64-bit kernel, and the
# conformance suite.
export ANYVISOR_STATE=/tmp/state ANYVISOR_CACHE=/share/cache
anyvisor=/share/bin/anyvisor
worst=0
step() { # COMMAND...
    local begun=$SECONDS status=0
    echo "\$ anyvisor $*"
    "$anyvisor" "$@" 2>&1 || status=$?
    echo "-> exit status $status, $((SECONDS - begun)) s"
    echo
    [ "$status" = 0 ] || worst=1
}
echo "Linux $(uname -r), $(virsh -c xen:///system version | sed -n 's/^Running hypervisor: //p'), libvirt $(virsh --version)"
echo
# Two names: the first has to prove itself before it is taken.
step run /share/examples/everywhere.yaml --hypervisor xen,qemu --report /out/report
step conformance --verbose --cells xen ${1:+--filter "$1"}
exit $worst
