import Abstractions
import DirectBackend
import PluginKit

await PluginServer.serve(
    DirectBackend.descriptor, version: "0.1", features: [.write, .hardLinks, .sparse, .ownership])
