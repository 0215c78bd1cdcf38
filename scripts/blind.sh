#!/bin/sh
# The Runner is blind: its target builds from a copy of the sources that has no backend in it.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -- Sources Package.swift | grep -v '^Sources/Backends/' | cpio -pdm --quiet "$copy"
# Targets whose sources are gone go too: only the Runner and what it knows stay.
python3 - "$copy/Package.swift" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
start = text.index("    targets: [")
kept = [line for line in text[start:].splitlines()
        if re.search(r'library\("(Abstractions|Host|Filters|PluginKit)"|CHost"', line)]
body = "    targets: [\n" + "\n".join(kept) + '''
        library("Runner", "Runner", ["Abstractions", "Host", "Filters", "PluginKit", .product(name: "Yams", package: "Yams")]),
    ]
)
'''
products = re.sub(r'\.executable\(name: "anyvisor".*\n', "", text[:start])
open(sys.argv[1], "w").write(products + body)
PY
swift build --package-path "$copy" --target Runner
echo "blind: Runner builds without Sources/Backends"
