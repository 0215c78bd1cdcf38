#!/usr/bin/env bash
# disks.sh ANYVISOR: scripts/virtualbox.sh, which compares images and runs machines on them, with the VirtualBox of the lab. anyvisor
# runs on this host, VirtualBox in the lab, and both see one folder. PARTS as there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
share=$(mktemp -d)
"$here/build.sh"
inside=
LAB_OUT=$share LAB_TIMEOUT=${LAB_TIMEOUT:-3600} "$here/run.sh" "exec sleep 86400.$$" &
lab=$!
# The lab ends with its command.
trap '[ -z "$inside" ] || kill "$inside" || true; wait "$lab" || true; rm -rf "$share"' EXIT
until inside=$(pgrep -xf "sleep 86400.$$"); do
    kill -0 "$lab" || exit 1
    sleep 0.1
done
VBOXMANAGE="nsenter --target $inside --mount --pid --ipc --net --uts --root --wd env -i HOME=/root USER=root LOGNAME=root LANG=C.UTF-8
    VBOX_LOG_DEST=nofile PATH=/usr/bin:/bin /usr/lib/virtualbox/VBoxManage"
VBOXMANAGE=${VBOXMANAGE//$'\n'/ } VBOX_SHARE=$share VBOX_SHARE_INSIDE=/out "$here/../../scripts/virtualbox.sh" "$1"
