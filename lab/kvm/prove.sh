# prove.sh [FILTER], inside the KVM lab: a recipe, which makes the hypervisor `kvm` prove that it boots a 64-bit kernel, and the
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
echo "Linux $(uname -r), $(virsh --version=long | head -n 1), $(qemu-system-x86_64 --version | head -n 1)"
echo
# Two names: the first has to prove itself before it is taken.
step run /share/examples/everywhere.yaml --hypervisor kvm,qemu --report /out/report
step conformance --verbose --cells kvm ${1:+--filter "$1"}
exit $worst
