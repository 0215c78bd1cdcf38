import Abstractions
import Host
import LibvirtBackend
import PluginKit

#if canImport(Glibc)
    import Glibc
#endif

// One program for every hypervisor that libvirt drives: plugins/<name>/plugin.json says which by `--dialect NAME`.
let words = CommandLine.arguments
let name = words.firstIndex(of: "--dialect").flatMap { words.indices.contains($0 + 1) ? words[$0 + 1] : nil } ?? ""
guard let descriptor = LibvirtBackend.descriptor(dialect: name) else {
    let known = LibvirtBackend.descriptors.map(\.name).joined(separator: ", ")
    try HostFiles.writeAll(2, Array("--dialect must be one of \(known)\n".utf8), "standard error")
    exit(2)
}
await PluginServer.serve(descriptor, version: "0.1")
