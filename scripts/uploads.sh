# uploads.sh, for the scripts that interrupt uploads: the old and the new content, images of each kind that hold the old one, and
# the look at what an image holds afterwards. To be sourced by bash after common.sh. MIB is the size of the largest file.
source "$(dirname "$0")/images.sh"

mkdir -p "$work/old/dir" "$work/new/dir"
for i in $(seq 60); do head -c $((RANDOM * 3)) /dev/urandom >"$work/old/dir/f$i"; head -c $((RANDOM * 3)) /dev/urandom >"$work/new/dir/f$i"; done
for age in old new; do head -c "${MIB:-80}M" /dev/urandom >"$work/$age/big"; done
digest() { (cd "$1" 2>/dev/null && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
old=$(digest "$work/old") new=$(digest "$work/new")
truncate -s 320M "$work/base.raw"
mke2fs -q -F -t ext4 "$work/base.raw"
"$anyvisor" disk put "$work/base.raw" "$work/old" /data 2>/dev/null

# Says old, new, or what is wrong: the content that `disk get` finds, QEMU's check of its own formats, and e2fsck of the whole disk.
look_into() { # KIND PATH
    local outcome=bad now
    rm -rf "$work/out"
    if "$anyvisor" disk get "$2" /data "$work/out" --format "$(suffix "$1")" --parent-folder "$work" 2>"$work/error"; then
        now=$(digest "$work/out")
        [ "$now" = "$old" ] && outcome=old
        [ "$now" = "$new" ] && outcome=new
    fi
    flatten "$1" "$2" "$work/check.raw"
    : >"$work/fsck"
    case $1 in qcow2 | vmdk) qemu-img check -q -f "$1" "$2" >"$work/fsck" 2>&1 || outcome=leaking ;; esac
    e2fsck -fn "$work/check.raw" >>"$work/fsck" 2>&1 || outcome=unclean
    echo "$outcome"
}
olds=0 news=0
count_outcome() { # WHAT OUTCOME
    case $2 in
    old) olds=$((olds + 1)) passed=$((passed + 1)) ;;
    new) news=$((news + 1)) passed=$((passed + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "$script: $1: $2"
        head -n 3 "$work/error"
        tail -n 3 "$work/fsck"
        ;;
    esac
}
