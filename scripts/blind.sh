#!/bin/sh
# The Runner is blind: its target builds from a copy of the sources that has no backend in it.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -- Sources | grep -v '^Sources/Backends/' | cpio -pdm --quiet "$copy"
# Targets whose sources are gone go too: only the Runner and what it knows stay.
# The package without its backends: only the Runner and what it knows stay.
cat >"$copy/Package.swift" <<'PACKAGE'
// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
]
let package = Package(
    name: "blind",
    dependencies: [.package(url: "https://github.com/jpsim/Yams", from: "6.2.2")],
    targets: [
        .systemLibrary(name: "CHost", path: "Sources/CHost"),
        .target(name: "Abstractions", swiftSettings: strict),
        .target(name: "Host", dependencies: ["Abstractions", "CHost"], swiftSettings: strict),
        .target(name: "Filters", dependencies: ["Abstractions"], swiftSettings: strict),
        .target(name: "PluginKit", dependencies: ["Abstractions", "Host"], swiftSettings: strict),
        .target(
            name: "Runner",
            dependencies: ["Abstractions", "Host", "Filters", "PluginKit", .product(name: "Yams", package: "Yams")],
            swiftSettings: strict),
    ])
PACKAGE
swift build --package-path "$copy" --target Runner
echo "blind: Runner builds without Sources/Backends"
