#!/bin/sh
# Structure rules that the formatter does not know.
set -eu
cd "$(dirname "$0")/.."
status=0
complain() { echo "lint: $*" >&2; status=1; }

for file in $(git ls-files '*.swift'); do
    lines=$(wc -l <"$file")
    [ "$lines" -le 400 ] || complain "$file has $lines lines; past 400 it wants to be two ideas"
done
if grep -rniE 'qemu|kvm|vbox|virtualbox|xen|vdfuse|guestfs|libvirt' Sources/Runner --include='*.swift'; then
    complain "Sources/Runner names a backend; it must not know any"
fi
if grep -rnE '^import (C[A-Z]|Clib|.*Backend|VirtualDisk)' Sources/Abstractions Sources/Filters Sources/PluginKit Sources/Runner |
    grep -v 'import CHost'; then
    complain "a module imports what the module rule forbids"
fi
if grep -nE '^import (C[A-Z]|Clib|Glibc|Foundation)' Sources/Abstractions/*.swift; then
    complain "Abstractions must know neither C nor Foundation"
fi
if grep -rnE '^import (C[A-Z]|Clib|Glibc|ArgumentParser|.*Backend|Runner)' Sources/AnyvisorKit; then
    complain "AnyvisorKit must know no C library, no backend and no command line"
fi
if grep -rnE '\b(setenv|unsetenv|putenv|clearenv|chdir|fchdir|umask|prctl)\(' Sources/AnyvisorKit Sources/Abstractions \
    Sources/Filters Sources/Host Sources/PluginKit; then
    complain "a library must not change the process that calls it"
fi
for script in $(git ls-files '*.sh' guest/agent guest/init .ci/run); do
    case "$(head -n 1 "$script")" in
    *bash* | '# common.sh'*) bash -n "$script" || complain "$script does not parse" ;;
    *) sh -n "$script" || complain "$script does not parse" ;;
    esac
done
exit $status
