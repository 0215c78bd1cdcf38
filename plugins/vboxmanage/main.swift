import PluginKit
import VBoxManageBackend

await PluginServer.serve(VBoxManageBackend.descriptor, version: "0.1")
