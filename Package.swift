// swift-tools-version: 6.2
import PackageDescription

// The module rule, kept by the dependencies below: Abstractions knows nobody; a backend knows Abstractions,
// Host, Support and one C library (a disk backend also VirtualDisk); the Runner never knows a backend; AnyvisorKit, which others
// link, knows VirtualDisk and no backend.

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

func library(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(path)", swiftSettings: strict)
}

func backend(_ name: String, _ folder: String, _ dependencies: [Target.Dependency] = []) -> Target {
    library(name, "Backends/\(folder)", ["Abstractions", "Host", "BackendSupport"] + dependencies)
}

func cLibrary(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, path: "Sources/Backends/C/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

// A program that several plugins share has its manifests in their folders.
func plugin(_ name: String, _ backend: Target.Dependency, hasManifest: Bool = true) -> Target {
    .executableTarget(
        name: "anyvisor-\(name)", dependencies: ["Abstractions", "Host", "PluginKit", backend],
        path: "plugins/\(name)", exclude: hasManifest ? ["plugin.json", "README.md"] : ["README.md"],
        swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: ["Abstractions"] + dependencies, swiftSettings: strict)
}

let package = Package(
    name: "anyvisor",
    products: [
        .executable(name: "anyvisor", targets: ["anyvisor"]),
        .library(name: "AnyvisorKit", targets: ["AnyvisorKit", "Abstractions", "Filters"]),
        .library(name: "Abstractions", targets: ["Abstractions"]),
        .library(name: "Runner", targets: ["Runner"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        library("Abstractions", "Abstractions"),
        .systemLibrary(name: "CHost", path: "Sources/CHost"),
        library("Host", "Host", ["Abstractions", "CHost"]),
        library("BackendSupport", "Backends/Support", ["Abstractions", "Host", "CHost"]),
        library("Filters", "Filters", ["Abstractions"]),
        library("PluginKit", "PluginKit", ["Abstractions", "Host"]),
        library(
            "Runner", "Runner",
            ["Abstractions", "Host", "Filters", "PluginKit", .product(name: "Yams", package: "Yams")]),
        library(
            "AnyvisorKit", "AnyvisorKit",
            ["Abstractions", "Host", "Filters", "PluginKit", "VirtualDisk"]),
        library("Statistics", "Statistics"),
        library(
            "Comparison", "Comparison", ["Abstractions", "Host", "AnyvisorKit", "Runner", "VirtualDisk", "Statistics"]),
        library("ConformanceKit", "ConformanceKit", ["Abstractions", "Host", "BackendSupport"]),

        cLibrary("Clibvirt", pkgConfig: "libvirt", apt: "libvirt-dev"),
        cLibrary("CGuestfs", pkgConfig: "libguestfs", apt: "libguestfs-dev"),
        cLibrary("CFuse3", pkgConfig: "fuse3", apt: "libfuse3-dev"),
        cLibrary("CExt2fs", pkgConfig: "ext2fs", apt: "libext2fs-dev"),
        .systemLibrary(name: "CNBD", path: "Sources/Backends/C/CNBD"),

        backend("MemoryBackend", "Memory"),
        backend("VirtualDisk", "VirtualDisk", ["CNBD"]),
        backend("DirectBackend", "Direct", ["VirtualDisk", "CExt2fs"]),
        backend("VDFuseBackend", "VDFuse", ["VirtualDisk", "CFuse3", "CHost"]),
        backend("GuestFSBackend", "GuestFS", ["VirtualDisk", "CGuestfs", "CHost"]),
        backend("LibvirtBackend", "Libvirt", ["Clibvirt", "CHost"]),
        backend("VBoxManageBackend", "VBoxManage"),

        plugin("memory", "MemoryBackend"),
        plugin("direct", "DirectBackend"),
        plugin("vdfuse", "VDFuseBackend"),
        plugin("libguestfs", "GuestFSBackend"),
        plugin("libvirt", "LibvirtBackend", hasManifest: false),
        plugin("vboxmanage", "VBoxManageBackend"),

        .executableTarget(
            name: "stats-proof", dependencies: ["Statistics"], path: "Sources/StatsProof", swiftSettings: strict),

        .executableTarget(
            name: "anyvisor",
            dependencies: [
                "AnyvisorKit", "Abstractions", "Host", "BackendSupport", "Filters", "PluginKit", "Runner",
                "ConformanceKit", "Comparison", "MemoryBackend", "VirtualDisk", "CHost",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Sources/anyvisor", swiftSettings: strict),

        tests("AbstractionsTests", []),
        tests("StatisticsTests", ["Statistics"]),
        tests("HostTests", ["Host", "BackendSupport"]),
        tests("FiltersTests", ["Filters", "MemoryBackend"]),
        tests("PluginKitTests", ["Host", "PluginKit", "MemoryBackend"]),
        tests("VirtualDiskTests", ["Host", "BackendSupport", "VirtualDisk"]),
        tests("DirectTests", ["Host", "BackendSupport", "VirtualDisk", "DirectBackend"]),
        tests("VDFuseTests", ["Host", "VirtualDisk", "VDFuseBackend"]),
        tests("GuestFSTests", ["Host", "VirtualDisk", "GuestFSBackend"]),
        tests("LibvirtTests", ["Host", "BackendSupport", "LibvirtBackend", "Clibvirt"]),
        tests("VBoxManageTests", ["Host", "BackendSupport", "VBoxManageBackend"]),
        tests("RunnerTests", ["Host", "Runner", "PluginKit", "MemoryBackend", "DirectBackend"]),
        tests("AnyvisorKitTests", ["Host", "Filters", "AnyvisorKit", "anyvisor"]),
        tests("ComparisonTests", ["Host", "Comparison"]),
        tests("CommandTests", ["Host", "Runner", "anyvisor"]),
        tests(
            "ConformanceTests",
            [
                "Host", "PluginKit", "ConformanceKit", "MemoryBackend", "DirectBackend", "VDFuseBackend",
                "GuestFSBackend", "LibvirtBackend",
            ]),
    ]
)

// `make fuzz` builds these with libFuzzer.
if Context.environment["ANYVISOR_FUZZ"] != nil {
    func fuzzer(_ name: String, _ folder: String, _ dependencies: [Target.Dependency]) -> Target {
        .executableTarget(
            name: "fuzz-\(name)", dependencies: ["Abstractions", "Host", "FuzzDriver"] + dependencies,
            path: "Fuzz/\(folder)",
            swiftSettings: strict, linkerSettings: [.unsafeFlags(["-use-ld=lld"])])
    }
    package.targets += [
        .target(name: "FuzzDriver", path: "Fuzz/Driver", swiftSettings: strict),
        fuzzer("images", "Images", ["VirtualDisk"]),
        fuzzer("ext", "Ext", ["BackendSupport", "DirectBackend"]),
    ]
}
