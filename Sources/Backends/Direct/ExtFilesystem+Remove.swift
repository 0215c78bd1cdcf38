import Abstractions

extension ExtFilesystem {
    /// Removes a file, link or folder; a full folder only when `recursive`.
    func remove(_ path: GuestPath, recursive: Bool) throws {
        let operation = "disk.remove"
        guard path != .root else {
            throw BackendError(.invalidArgument, operation, "the root folder cannot be removed", backend: "direct")
        }
        let (parent, name) = try place(path, operation)
        guard let entry = parent[name] else { throw missing(path, operation) }
        let isFolder = try kind(of: entry, operation) == .directory
        if isFolder, !recursive, try !directory(entry.inode, operation, path.rawValue).entries.isEmpty {
            throw BackendError(
                .invalidArgument, operation, "\(path) is a folder with content, remove it recursively",
                backend: "direct",
                blame: .caller)
        }
        try changing {
            isTouched = true
            if isFolder {
                try removeTree(entry.inode, path)
            } else {
                try dropLink(entry.inode, operation)
            }
            parent.remove(name, isFolder: isFolder)
            try touch(parent, operation)
        }
    }

    /// Frees a folder and all below it, deepest first; their names need not be taken out, since the folders go too.
    private func removeTree(_ top: UInt32, _ path: GuestPath) throws {
        let operation = "disk.remove"
        var seen: Set<UInt32> = [top]
        var pending = [(number: top, entries: try directory(top, operation, path.rawValue).entries)]
        while !pending.isEmpty {
            guard let entry = pending[pending.count - 1].entries.popLast() else {
                let folder = pending.removeLast().number
                try release(folder, try inode(folder, operation), operation)
                continue
            }
            guard try kind(of: entry, operation) == .directory else {
                try dropLink(entry.inode, operation)
                continue
            }
            guard seen.insert(entry.inode).inserted else {
                throw ExtError.corrupt(operation, "folder \(entry.inode) has two names")
            }
            pending.append((entry.inode, try directory(entry.inode, operation, path.rawValue).entries))
        }
    }
}
