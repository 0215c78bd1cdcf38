#!/usr/bin/env bash
# fixtures.sh ANYVISOR: the images that VirtualBox wrote (Tests/Fixtures/images) read as their manifest says by `disk export` and
# `mount`, and each file in them by each backend of DISKS as debugfs reads it.
anyvisor=$(realpath "$1")
source "$(dirname "$0")/common.sh"
fixtures=$project/Tests/Fixtures/images

for packed in "$fixtures"/*.xz; do xz -dkc "$packed" >"$work/$(basename "$packed" .xz)"; done
digest() { (cd "$1" && find . -printf '%P %y %s %m %l\n' | sed -E '/ d /s/ d [0-9]+/ d/' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
mkdir "$work/point"
while read -r image sum; do
    "$anyvisor" disk export "$work/$image" "$work/$image.raw" 2>"$work/error" || true
    verdict "$image by export" "$([ "$(sha256sum <"$work/$image.raw")" = "$sum  -" ] || echo "another content; $(cat "$work/error")")"
    if [ -r /dev/fuse ] && [ -w /dev/fuse ]; then
        "$anyvisor" mount "$work/$image" "$work/point" >/dev/null 2>"$work/error" || true
        verdict "$image by mount" "$([ "$(sha256sum <"$work/point/EntireDisk")" = "$sum  -" ] || echo "another content; $(cat "$work/error")")"
        "$anyvisor" unmount "$work/point" || true
    else
        echo "fixtures: $image by mount: SKIPPED: /dev/fuse is not usable here"
    fi
    # the oracle: the one partition, cut out by dd, read by e2fsprogs
    dd if="$work/$image.raw" of="$work/part" bs=1M skip=1 status=none
    rm -rf "$work/oracle"
    mkdir "$work/oracle"
    debugfs -R "rdump / $work/oracle" "$work/part" >/dev/null 2>&1
    for disk in ${DISKS:-direct vdfuse libguestfs}; do
        rm -rf "$work/out"
        "$anyvisor" disk get "$work/$image" / "$work/out" --disk "$disk" >/dev/null 2>"$work/error" || true
        verdict "every file of $image by $disk" "$(
            diff <(digest "$work/oracle") <(digest "$work/out") 2>&1 | head -n 4
            [ -s "$work/out/base.txt" ] || cat "$work/error"
        )"
    done
done < <(python3 -c '
import json, sys
for image in json.load(open(sys.argv[1]))["images"]:
    if "raw_sha256" in image: print(image["file"], image["raw_sha256"])' "$fixtures/manifest.json")
verdict "all images were read" "$([ "$(ls "$work"/*.raw | wc -l)" = 10 ] || echo "only $(ls "$work"/*.raw)")"
verdict "nothing is left" "$(left_over)"
summary
