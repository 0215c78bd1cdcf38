import MemoryBackend
import PluginKit

// One program for both protocols: the manifest beside this file serves the hypervisor, `../memory-disk` the disk.
let wantsDisk = CommandLine.arguments.contains("--disk")
await PluginServer.serve(wantsDisk ? MemoryBackend.disk : MemoryBackend.hypervisor, version: "1")
