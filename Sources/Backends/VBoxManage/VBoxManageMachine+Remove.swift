import Abstractions
import Host

extension VBoxManageMachine {
    /// Takes the machine off VirtualBox's list, and its media and folder with it; the images that its maker named stay.
    func remove() async throws {
        let info = try await info("machine.destroy")
        let media = info.media + record.folder.imageFiles
        // Never with `--delete`: that removes images that are nobody else's, so the user's too.
        try await tool.whenUnlocked("machine.destroy", ["unregistervm", record.uuid])
        try await VBoxManageMachine.closeMedia(media, in: record.folder.path, tool)
        if record.folder.isOurs { try record.folder.remove() }
    }

    /// Lets VirtualBox forget what a machine had: else the next one with the same files is refused.
    ///
    /// - Throws: what VirtualBox says when its list cannot be read.
    static func closeMedia(_ files: [HostPath], in folder: HostPath, _ tool: VBoxManageTool) async throws {
        let known = RegisteredMedium.list(try await tool.whenUnlocked("machine.destroy", ["list", "hdds"]))
        func isOf(_ medium: RegisteredMedium) -> Bool {
            files.contains(medium.location) || medium.location.string.hasPrefix("\(folder)/")
        }
        let left = known.filter(isOf)
        for medium in RegisteredMedium.childrenFirst(left) {
            // One that another machine has stays on the list.
            _ = try? await tool("machine.destroy", ["closemedium", "disk", medium.uuid])
        }
        let dvds = RegisteredMedium.list(try await tool.whenUnlocked("machine.destroy", ["list", "dvds"]))
        for medium in dvds where isOf(medium) {
            _ = try? await tool("machine.destroy", ["closemedium", "dvd", medium.uuid])
        }
    }
}
