import Abstractions
import GuestFSBackend
import PluginKit

await PluginServer.serve(
    GuestFSBackend.descriptor, version: "0.1", features: [.write, .hardLinks, .sparse, .ownership])
