import Abstractions
import PluginKit
import VDFuseBackend

// The same program is the FUSE server, in a process of its own.
VDFuseHelper.runIfAsked()
await PluginServer.serve(
    VDFuseBackend.descriptor, version: "0.1", features: [.write, .mount, .hardLinks, .sparse, .ownership])
