#!/usr/bin/env bash
# virtualbox.sh ANYVISOR: a real VirtualBox and anyvisor must agree on every image, whoever wrote it, and machines must run on
# what anyvisor wrote. VBOXMANAGE is the command to call. Where VirtualBox lives in a root of its own, VBOX_SHARE is a folder
# of this host, and VBOX_SHARE_INSIDE the name by which VirtualBox knows it. PARTS names the parts.
anyvisor=$(realpath "$1")
manage=${VBOXMANAGE:-VBoxManage}
share=$(realpath "${VBOX_SHARE:-${TMPDIR:-/tmp}}") share_inside=${VBOX_SHARE_INSIDE:-}
share_inside=${share_inside:-$share}
version=$($manage -q --version 2>/dev/null | tail -n 1) || true
if ! [[ $version =~ ^[0-9]+\. ]]; then
    echo "virtualbox: SKIPPED everything: '$manage --version' does not work; install VirtualBox, or name it in VBOXMANAGE"
    exit 0
fi
TMPDIR=$share source "$(dirname "$0")/common.sh"
cd "$work"
echo "virtualbox: VirtualBox $version"
mkdir mnt vms said

# --- VirtualBox
inside() { echo "$share_inside${1#"$share"}"; }
outside() { echo "$share${1#"$share_inside"}"; }
V() { # ARGUMENT...: one call; its words are in said/vbox, its problem in said/problem
    $manage -q "$@" >said/vbox 2>said/vbox.err && return
    grep -m 1 'error:' said/vbox.err >said/problem || tail -n 1 said/vbox.err >said/problem
    return 1
}
known() { # machines and media of this run that VirtualBox still has on its list
    V list vms && sed -n "s/^\"\(anyvisor-$$-[^\"]*\)\".*/machine \1/p" said/vbox
    V list --long hdds && awk -v here="$(inside "$work")/" '/^UUID:/ {u = $2} /^Location:/ && index($0, here) {print "medium", u}' said/vbox
}
forget() { # children come after their parents on the list, and must go first
    local kind name
    for _ in 1 2 3 4 5 6 7 8; do
        known | tac | while read -r kind name; do
            case $kind in
            machine) V controlvm "$name" poweroff || true; V unregistervm "$name" || true ;;
            medium) V closemedium disk "$name" || true ;;
            esac
        done
        [ -n "$(known)" ] || return 0
        sleep 0.5
    done
}
trap 'forget 2>/dev/null; at_end' EXIT

# --- anyvisor
A() { # ARGUMENT...: one call; its words are in said/anyvisor, its problem in said/problem
    "$anyvisor" "$@" >said/anyvisor 2>said/problem
}
chain() { # IMAGE: uuid and file of each of its layers as anyvisor finds them, the base first and itself last
    A disk info "$1" --json && python3 - <<'PY'
import json
def walk(layer, below):
    below = below + [layer.get("uuid", "-") + " " + layer["path"]]
    if layer["isImage"]: print(*below, sep="\n")
    for child in layer["children"]: walk(child, below)
walk(json.load(open("said/anyvisor"))["layers"], [])
PY
}
uuid() { chain "$1" | tail -n 1 | cut -d ' ' -f 1; }
introduce() { # IMAGE: VirtualBox opens a layer only when it knows those below it, and forgets what no machine has after some seconds
    local file
    chain "$1" >said/chain || return
    while read -r _ file; do V showmediuminfo disk "$(inside "$file")" || return; done <said/chain
}
digest() { sha256sum <"$1" | cut -c 1-64; }
declare -A contents
# Both must read an image alike; the digest is left in `content` and noted under the name, for comparisons.
same() { # NAME IMAGE
    local problem="" theirs=""
    content=""
    rm -f ours.raw theirs.raw
    if ! A disk export "$2" ours.raw; then problem="anyvisor: $(tail -n 1 said/problem)"
    elif ! introduce "$2" || ! V clonemedium disk "$(inside "$work/$2")" "$(inside "$work/theirs.raw")" --format RAW; then
        problem="clonemedium: $(cat said/problem)"
    else
        V closemedium disk "$(inside "$work/theirs.raw")" || true
        content=$(digest ours.raw) theirs=$(digest theirs.raw)
        [ "$content" = "$theirs" ] || problem="anyvisor reads $content, clonemedium $theirs"
    fi
    contents[$1]=$content
    verdict "$1: clonemedium reads as disk export, sha256 ${content:0:12}, $(stat -c %s ours.raw 2>/dev/null || echo 0) bytes" "$problem"
}
accepted() { # NAME IMAGE PARENT-IMAGE|base MIB
    local problem="" own parent=base
    own=$(uuid "$2")
    [ "$3" = base ] || parent=$(uuid "$3")
    if ! introduce "$2"; then problem=$(cat said/problem)
    else
        grep -q "^UUID: *$own\$" said/vbox || problem="the uuid is not $own"
        grep -q "^State: *created\$" said/vbox || problem="the state is not 'created'"
        grep -q "^Parent UUID: *$parent\$" said/vbox || problem="the parent is not $parent"
        grep -q "^Capacity: *$4 MBytes\$" said/vbox || problem="the capacity is not $4 MBytes"
        [ -z "$problem" ] || problem="$problem: $(tr -s ' \n' ' ' <said/vbox)"
    fi
    verdict "$1: showmediuminfo accepts it, uuid ${own:0:8}, parent ${parent:0:8}, $4 MBytes" "$problem"
}
held() { # NAME COMMAND...: it must succeed
    local name=$1
    shift
    if "$@"; then verdict "$name" ""; else verdict "$name" "$(tail -n 2 said/problem)"; fi
}
refused() { # NAME EXIT TEXT ARGUMENT...: anyvisor must refuse, in these words
    local name=$1 expected=$2 text=$3 status=0
    shift 3
    A "$@" || status=$?
    if [ "$status" != "$expected" ]; then verdict "$name" "exit $status, not $expected: $(tail -n 1 said/problem)"
    elif ! grep -q -- "$text" said/problem; then verdict "$name" "does not say '$text': $(tail -n 1 said/problem)"
    else verdict "$name" ""; fi
}
tree() { # NAME: a folder of files that differ from one name to the next
    mkdir -p "tree/$1/deep"
    echo "this is $1" >"tree/$1/word"
    head -c 3000000 /dev/urandom >"tree/$1/deep/big"
    seq 5000 >"tree/$1/deep/numbers"
}
put_and_get() { # IMAGE NAME [ARGUMENT...]
    local image=$1 name=$2
    shift 2
    rm -rf got
    A disk put "$image" "tree/$name" "/$name" "$@" && A disk get "$image" "/$name" got "$@" && diff -r "tree/$name" got >said/problem
}
speak() { # IMAGE TEXT: the line that the guest reads from sector 0; the partition table behind it stays
    A mount "$1" mnt --read-write || return
    printf '%s\n' "$2" | dd of=mnt/EntireDisk bs=512 conv=notrunc,fsync 2>said/problem || { A unmount mnt; return 1; }
    A unmount mnt
}

# --- machines: the guest `mini` reads sector 0 of its second disk, answers in sector 1 and counts in sector 2
machine() { # NAME: sets `vm` and makes it, without disks
    vm=anyvisor-$$-$1
    V createvm --name "$vm" --ostype Other_64 --register --basefolder "$(inside "$work/vms")" &&
        V modifyvm "$vm" --memory 32 --cpus 1 --boot1 disk --nic1 none --vram 4 --uart1 0x3F8 4 --uartmode1 file "$(inside "$work/serial")" &&
        V storagectl "$vm" --name IDE --add ide --controller PIIX4
}
attach() { # DEVICE IMAGE
    introduce "$2" && V storageattach "$vm" --storagectl IDE --port 0 --device "$1" --type hdd --medium "$(inside "$work/$2")"
}
begun() {
    rm -f serial
    V startvm "$vm" --type headless || return 1
    for _ in $(seq 300); do
        ! grep -qs 'mini: d' serial || return 0
        sleep 0.1
    done
    V controlvm "$vm" poweroff || true
    echo "the guest said: $(tr '\r\n' '  ' <serial)" >said/problem
    return 1
}
over() { # until its process is gone too
    for _ in $(seq 300); do
        pgrep -f -- "--comment $vm " >/dev/null || { V showvminfo "$vm" --machinereadable && grep -q '^VMState="poweroff"' said/vbox && return; }
        sleep 0.1
    done
    echo "the machine does not power off" >said/problem
    return 1
}
switched_off() { V controlvm "$vm" poweroff && over; }
ran() { # NAME IMAGE TEXT COUNT: one run, in which the guest reads the text and counts to that
    local problem="" answer="" count=""
    rm -f ours.raw
    if ! begun || ! over; then problem=$(cat said/problem)
    elif ! grep -q "$3" serial; then problem="the guest read: $(tr '\r\n' '  ' <serial)"
    elif ! A disk export "$2" ours.raw; then problem="anyvisor: $(tail -n 1 said/problem)"
    else
        answer=$(dd if=ours.raw bs=512 skip=1 count=1 2>/dev/null | head -n 1 | tr -d '\0')
        count=$(od -An -tu4 -j 1024 -N 4 ours.raw | tr -d ' ')
        [ "$answer" = "anyvisor-mini-answer:$3" ] || problem="its answer is '$answer'"
        [ "$count" = "$4" ] || problem="$problem its count is $count"
    fi
    verdict "$1: the guest reads '$3', and anyvisor reads its answer and the count $4" "$problem"
}
"$project/guest/images/mini/build.sh" "$work/mini" 2>said/problem
truncate -s 24M io.raw
printf 'label: dos\nstart=2048, type=83\n' | sfdisk -q io.raw
mke2fs -q -F -t ext4 -L io -E offset=1048576 io.raw 23552k
printf 'hello\n' | dd of=io.raw conv=notrunc 2>/dev/null

for name in base layer1 layer2 layer3 layer4; do tree "$name"; done
A disk import boot.vdi mini/disk.raw && A disk create boot-layer.vdi --parent boot.vdi

chains() { # what anyvisor wrote
    for format in vdi vhd; do
        A disk create "base.$format" --size 64MiB --filesystem ext4 --label base
        [ "$format" = vhd ] || { A disk create "fixed.$format" --size 64MiB --filesystem ext4 --fixed && accepted "fixed $format" "fixed.$format" base 64; }
        below=base
        for layer in base layer1 layer2 layer3 layer4; do
            disk=direct
            case $layer in
            base) ;;
            layer2 | layer4) disk=vdfuse ;&
            *) A disk create "$layer.$format" --parent "$below.$format" ;;
            esac
            held "$format $layer: a tree put by $disk comes back" put_and_get "$layer.$format" "$layer" --disk "$disk"
            if [ "$layer" = base ]; then accepted "$format $layer" "$layer.$format" base 64
            else accepted "$format $layer" "$layer.$format" "$below.$format" 64; fi
            same "$format $layer" "$layer.$format"
            below=$layer
        done
        for layer in base layer1 layer2 layer3 layer4; do same "$format $layer, once more" "$layer.$format"; done
        distinct=$(for layer in base layer1 layer2 layer3 layer4; do echo "${contents["$format $layer"]}"; done | sort -u | wc -l)
        verdict "$format: each of the 5 layers has a content of its own" "$([ "$distinct" = 5 ] || echo "there are $distinct contents")"
        moved=$(for layer in base layer1 layer2 layer3; do [ "${contents["$format $layer"]}" = "${contents["$format $layer, once more"]}" ] || echo "$layer "; done)
        verdict "$format: what was written above changed no layer below" "$moved"
    done
    rm -f ours.raw
    A disk export layer4.vdi ours.raw
    verdict "vdi layer4: e2fsck finds nothing in it" "$(e2fsck -fn ours.raw >said/fsck 2>&1 || tail -n 3 said/fsck)"
    introduce layer4.vdi && V mediumio --disk="$(inside "$work/layer4.vdi")" cat --output="$(inside "$work/cat.raw")" || true
    verdict "vdi layer4: mediumio reads as disk export" "$(cmp cat.raw ours.raw 2>&1)"
}
formatted() { introduce "$1" && V mediumio --disk="$(inside "$work/$1")" formatfat --quick; }
writes() { # VirtualBox writes into our layers, and we into its
    A disk create fat.vdi --size 64MiB && A disk create fat-layer.vdi --parent fat.vdi
    empty=$(digest fat.vdi)
    accepted "fat" fat.vdi base 64
    held "fat: mediumio formats a layer of ours" formatted fat-layer.vdi
    same "fat: after mediumio" fat-layer.vdi
    if ! A disk ls fat-layer.vdi --disk vdfuse && grep -q 'kernel has no vfat' said/problem; then
        echo "virtualbox: SKIPPED writing to VirtualBox's FAT: $(tail -n 1 said/problem)"
    else
        held "fat: a tree put into VirtualBox's file system comes back" put_and_get fat-layer.vdi base --disk vdfuse
        same "fat: after disk put" fat-layer.vdi
    fi
    verdict "fat: the layer below is untouched" "$([ "$empty" = "$(digest fat.vdi)" ] || echo "fat.vdi was changed")"
    for format in vdi vhd vmdk; do
        case $format in
        vmdk) held "vmdk: clonemedium makes one" V clonemedium disk "$(inside "$work/below.vdi")" "$(inside "$work/below.vmdk")" --format VMDK ;;
        *) A disk create "below.$format" --size 64MiB --filesystem ext4 && A disk put "below.$format" tree/base /base ;;
        esac
        held "$format: createmedium makes a layer on it" V createmedium disk --filename "$(inside "$work/theirs.$format")" \
            --diffparent "$(inside "$work/below.$format")" --format "${format^^}"
        held "$format: a tree put into a layer of VirtualBox's comes back" put_and_get "theirs.$format" layer1
        same "$format layer of VirtualBox's" "theirs.$format"
    done
}
vmdk() { # VMDK as VirtualBox makes it
    A disk create small.vdi --size 64MiB --filesystem ext4 && A disk put small.vdi tree/base /base
    same "small.vdi" small.vdi
    A disk create wide.vdi --size 2049MiB --filesystem ext4 && A disk put wide.vdi tree/base /base
    held "wide.vdi: bytes behind 2 GiB" behind
    same "wide.vdi" wide.vdi
    for variant in Standard Split2G Stream Fixed; do
        of=small
        [ "$variant" != Split2G ] || of=wide
        held "$variant.vmdk: clonemedium makes it of $of.vdi" V clonemedium disk "$(inside "$work/$of.vdi")" "$(inside "$work/$variant.vmdk")" \
            --format VMDK --variant "$variant"
        # VirtualBox notes another uuid for a stream than it writes into it, and then refuses its own image.
        V closemedium disk "$(inside "$work/$variant.vmdk")" || true
        same "$variant.vmdk" "$variant.vmdk"
        verdict "$variant.vmdk: it has the content of $of.vdi" \
            "$([ "$content" = "${contents["$of.vdi"]}" ] || echo "it reads as $content, not ${contents["$of.vdi"]}")"
        case $variant in
        Stream) refused "$variant.vmdk is not written" 16 "can only be read" disk put "$variant.vmdk" tree/layer1 /never ;;
        *)
            held "$variant.vmdk: a tree put into it comes back" put_and_get "$variant.vmdk" layer1
            same "$variant.vmdk, written to" "$variant.vmdk"
            ;;
        esac
    done
    verdict "Split2G.vmdk: it has two parts" "$([ "$(ls Split2G-s*.vmdk | wc -l)" = 2 ] || ls Split2G*)"
}
behind() {
    A mount wide.vdi mnt --read-write || return
    echo "behind the first part" | dd of=mnt/EntireDisk bs=1M seek=2048 conv=notrunc,fsync 2>said/problem || { A unmount mnt; return 1; }
    A unmount mnt
}
two_layers() {
    A disk import "io.$format" io.raw && A disk create "io1.$format" --parent "io.$format" && put_and_get "io1.$format" layer1 &&
        speak "io1.$format" "first layer" && A disk create "io2.$format" --parent "io1.$format" && put_and_get "io2.$format" layer2
}
both() { attach 0 boot-layer.vdi && attach 1 "$1"; } # IO-IMAGE
machines() { # a machine runs on our layers, and a running one keeps them
    for format in vdi vhd; do
        held "$format: a machine is made" machine "$format"
        held "$format: two layers for it" two_layers
        before=$(cat "io.$format" "io1.$format" boot.vdi | sha256sum)
        accepted "$format, below the machine's" "io.$format" base 24
        accepted "$format, below the machine's" "io1.$format" "io.$format" 24
        held "$format: the machine takes the layers" both "io2.$format"
        ran "$format, first run" "io2.$format" "first layer" 1
        same "$format, after the guest wrote" "io2.$format"
        held "$format: anyvisor writes beside what the guest wrote" put_and_get "io2.$format" layer3
        held "$format: anyvisor writes a new text for the guest" speak "io2.$format" "and once more"
        ran "$format, second run" "io2.$format" "and once more" 2
        same "$format, after both wrote" "io2.$format"
        verdict "$format: the layers below are untouched" "$([ "$before" = "$(cat "io.$format" "io1.$format" boot.vdi | sha256sum)" ] || echo "one was changed")"
        tail -c +1048577 ours.raw >part.raw
        verdict "$format: e2fsck finds nothing in the partition" "$(e2fsck -fn part.raw >said/fsck 2>&1 || tail -n 3 said/fsck)"

        held "$format: a text that lets the guest stay" speak "io2.$format" "HANG now"
        held "$format: a machine runs and stays" begun
        refused "$format in a running machine is not written" 75 "VBoxHeadless\|VirtualBoxVM" disk put "io2.$format" tree/base /never
        refused "$format in a running machine is not mounted to write" 75 "VBoxHeadless\|VirtualBoxVM" mount "io2.$format" mnt --read-write
        refused "$format in a running machine is not read" 75 "--force-stale" disk ls "io2.$format"
        refused "$format in a running machine is not exported" 75 "VBoxHeadless\|VirtualBoxVM" disk export "io2.$format" never.raw
        rm -rf got
        held "$format in a running machine is read with --force-stale" A disk get "io2.$format" /layer3 got --force-stale
        verdict "$format in a running machine reads right with --force-stale" "$(diff -r tree/layer3 got 2>&1 | head -n 2)"
        refused "$format is not written with --force-stale" 2 "--force-stale" disk put "io2.$format" tree/base /never --force-stale
        held "$format: a layer below a running machine's is read" A disk ls "io1.$format" /layer1
        refused "$format: a layer below a running machine's is not written" 75 "VBoxHeadless\|VirtualBoxVM" disk put "io1.$format" tree/base /never
        held "$format: the machine is switched off" switched_off
        held "$format: once the machine is off it is written again" put_and_get "io2.$format" layer4
        same "$format, once the machine is off" "io2.$format"
        held "$format: the machine is removed" V unregistervm "$vm"
    done
}
leaf() { # sets `leaf` to the file of the machine's second disk, as seen from here
    V showvminfo "$vm" --machinereadable || true
    leaf=$(outside "$(sed -n 's/^"IDE-0-1"="\(.*\)"$/\1/p' said/vbox)")
    leaf=${leaf#"$work/"}
}
snapshots() { # snapshots that VirtualBox takes
    held "snapshots: a machine is made" machine snapshots
    held "snapshots: its disk" A disk import "vms/$vm/io.vdi" io.raw
    held "snapshots: the machine takes it" both "vms/$vm/io.vdi"
    for number in 1 2; do
        held "snapshot $number is taken" V snapshot "$vm" take "s$number"
        leaf
        verdict "snapshot $number: the disk is a layer in Snapshots" "$([[ $leaf == vms/$vm/Snapshots/*.vdi ]] || echo "it is $leaf")"
        ran "snapshot $number" "$leaf" hello "$number"
        held "snapshot $number: its parents are found, a tree comes back" put_and_get "$leaf" "layer$number"
        same "snapshot $number" "$leaf"
    done
    verdict "snapshots: disk info shows 3 layers" "$([ "$(chain "$leaf" | wc -l)" = 3 ] || echo "it shows $(chain "$leaf" | tr '\n' ' ')")"
    refused "snapshots: their base is not written" 2 "parent of the snapshot layer" disk put "vms/$vm/io.vdi" tree/base /never
    held "snapshots: --layer opens the leaf from its base" A disk ls "vms/$vm/io.vdi" /layer2 --layer "$(basename "$leaf")"
    ran "after disk put into the leaf" "$leaf" hello 3
    same "snapshots, before a merge" "$leaf"
    merged=$content
    held "snapshot 1 is deleted, which merges layers that anyvisor wrote" V snapshot "$vm" delete s1
    leaf
    same "snapshots, after the merge" "$leaf"
    verdict "the merge changed no content" "$([ "$content" = "$merged" ] || echo "it is $content, not $merged")"
    held "snapshot 2 is restored" V snapshot "$vm" restore s2
    old=$leaf
    leaf
    verdict "the machine has a new layer" "$([ "$leaf" != "$old" ] || echo "it is still $leaf")"
    same "snapshots, restored" "$leaf"
    verdict "restoring brought back the state of snapshot 1's run" "$([ "$content" = "${contents["snapshot 1"]}" ] || echo "it reads as $content")"
    held "after restoring a tree put into the new layer comes back" put_and_get "$leaf" base
    ran "after restoring" "$leaf" hello 2
}
for part in ${PARTS:-chains writes vmdk machines snapshots}; do $part; done

forget
verdict "VirtualBox has nothing of this left on its lists" "$(known)"
verdict "nothing is left at the end" "$(left_over)"
summary
