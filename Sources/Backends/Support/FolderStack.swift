import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// The open folder of a walk and the folders above it, however deep, with a bounded number of descriptors.
///
/// The root, each 64th folder and the deepest ones stay open; one that was closed is opened again from the nearest of them, name by
/// name, without following a link. A path is never built, so its length does not matter.
package final class FolderStack {
    private static let kept = 32
    /// Levels that stay open all the time, at most 256 of them.
    private static func isLandmark(_ level: Int) -> Bool { level % 64 == 63 && level < 64 * 256 }

    private let root: Int32
    private var levels: [(name: String, descriptor: Int32)] = []

    /// Takes over the root's descriptor.
    package init(root: Int32) { self.root = root }

    /// How many folders lie between the root and the current one, the current one counted.
    package var depth: Int { levels.count }

    /// The names from the root down to the current folder.
    package var names: [String] { levels.map(\.name) }

    /// The current folder's name; nil at the root.
    var lastName: String? { levels.last?.name }

    /// The current folder's descriptor, owned by the stack.
    package func current() throws -> Int32 {
        guard let last = levels.last else { return root }
        if last.descriptor < 0 { try reopen() }
        return levels.last?.descriptor ?? root
    }

    /// Opens a folder of the current one and makes it the current one.
    package func enter(_ name: String) throws {
        let descriptor = try HostNames.openFolder(try current(), name)
        levels.append((name, descriptor))
        let old = levels.count - 1 - FolderStack.kept
        if old >= 0 && !FolderStack.isLandmark(old) { close(at: old) }
    }

    /// Makes the folder above the current one.
    package func leave() {
        guard !levels.isEmpty else { return }
        close(at: levels.count - 1)
        levels.removeLast()
    }

    /// Opens the folder that these names lead to from the root; the caller closes it.
    package func open(_ names: [String]) throws -> Int32 {
        var descriptor = dup(root)
        for name in names {
            let parent = descriptor
            defer { Glibc.close(parent) }
            descriptor = try HostNames.openFolder(parent, name)
        }
        return descriptor
    }

    /// Opens the current folder and those just above it again.
    private func reopen() throws {
        let first = max(0, levels.count - FolderStack.kept)
        let start = levels.lastIndex { $0.descriptor >= 0 }
        var parent = start.map { levels[$0].descriptor } ?? root
        var isPassing = false
        defer { if isPassing { Glibc.close(parent) } }
        for level in (start.map { $0 + 1 } ?? 0)..<levels.count {
            let descriptor = try HostNames.openFolder(parent, levels[level].name)
            if isPassing { Glibc.close(parent) }
            parent = descriptor
            isPassing = level < first
            if !isPassing { levels[level].descriptor = descriptor }
        }
    }

    private func close(at level: Int) {
        if levels[level].descriptor >= 0 { Glibc.close(levels[level].descriptor) }
        levels[level].descriptor = -1
    }

    deinit {
        for level in levels where level.descriptor >= 0 { Glibc.close(level.descriptor) }
        Glibc.close(root)
    }
}
