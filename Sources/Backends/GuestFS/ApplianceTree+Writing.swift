import Abstractions
import BackendSupport
import CGuestfs
import Host

extension ApplianceTree {
    func makeDirectory(_ path: GuestPath, parents: Bool) throws {
        try withPath(path) { text in
            if parents {
                try guest.check(guestfs_mkdir_p(guest.pointer, text), "makeDirectory", "cannot make folder \(path)")
            } else {
                try guest.check(guestfs_mkdir(guest.pointer, text), "makeDirectory", "cannot make folder \(path)")
            }
        }
    }

    func remove(_ path: GuestPath, recursive: Bool) throws {
        guard path != .root else { throw BackendError(.invalidArgument, "remove", "the root cannot be removed") }
        let found = try entry(path)
        try withPath(path) { text in
            if recursive {
                try guest.check(guestfs_rm_rf(guest.pointer, text), "remove", "cannot remove \(path)")
            } else if found.stat.kind == .directory {
                guard try names(in: path).isEmpty else {
                    throw BackendError(.invalidArgument, "remove", "folder \(path) is not empty")
                }
                try guest.check(guestfs_rmdir(guest.pointer, text), "remove", "cannot remove \(path)")
            } else {
                try guest.check(guestfs_rm(guest.pointer, text), "remove", "cannot remove \(path)")
            }
        }
    }

    func rename(_ path: GuestPath, to newPath: GuestPath) throws {
        guard path != .root, newPath != .root else {
            throw BackendError(.invalidArgument, "rename", "the root cannot be renamed or replaced")
        }
        let source = try entry(path)
        if path == newPath { return }
        if source.stat.kind == .directory, newPath.rawValue.hasPrefix(path.rawValue + "/") {
            throw BackendError(.invalidArgument, "rename", "folder \(path) cannot move into itself")
        }
        if let old = try existing(newPath) {
            if old.stat.kind == .directory {
                throw BackendError(.alreadyExists, "rename", "folder \(newPath) exists")
            }
            // The appliance's kernel would not let a folder replace a file.
            if source.stat.kind == .directory { try remove(newPath, recursive: false) }
        }
        try withPath(path) { old in
            try withPath(newPath) { new in
                try guest.check(
                    guestfs_rename(guest.pointer, old, new), "rename", "cannot rename \(path) to \(newPath)")
            }
        }
    }

    func symlink(_ path: GuestPath, target: String) throws {
        try ApplianceTree.withText(target) { text in
            try withPath(path) { link in
                try guest.check(guestfs_ln_s(guest.pointer, text, link), "symlink", "cannot make link \(path)")
            }
        }
    }

    /// Owner first, since a change of owner takes the setuid bit away; times last.
    func setMetadata(_ path: GuestPath, _ change: MetadataChange) throws {
        let old = try entry(path).stat
        try withPath(path) { text in
            if change.uid != nil || change.gid != nil {
                try guest.check(
                    guestfs_lchown(
                        guest.pointer, Int32(bitPattern: change.uid ?? old.uid),
                        Int32(bitPattern: change.gid ?? old.gid),
                        text), "setMetadata", "cannot set the owner of \(path)")
            }
            let mode = change.mode ?? (change.uid != nil || change.gid != nil ? old.mode : nil)
            if let mode, old.kind != .symlink {
                try guest.check(
                    guestfs_chmod(guest.pointer, Int32(mode & 0o7777), text), "setMetadata",
                    "cannot set the mode of \(path)")
            }
            try checkKept(change, path)
            if let modified = change.modifiedNanoseconds {
                let seconds = modified >= 0 ? modified / 1_000_000_000 : (modified - 999_999_999) / 1_000_000_000
                // -2 leaves the time of the last access as it is.
                try guest.check(
                    guestfs_utimens(guest.pointer, text, 0, -2, seconds, modified - seconds * 1_000_000_000),
                    "setMetadata", "cannot set the time of \(path)")
            }
        }
    }

    /// - Throws: `unsupported` when the file system has not kept the change of an owner or mode.
    private func checkKept(_ change: MetadataChange, _ path: GuestPath) throws {
        guard !guest.keepsOwners else { return }
        let stat = try entry(path).stat
        for (wanted, found) in [(change.mode, stat.mode), (change.uid, stat.uid), (change.gid, stat.gid)]
        where wanted != nil && wanted != found {
            throw BackendError(
                .unsupported, "setMetadata", "the file system of \(path) does not keep this owner or mode")
        }
    }

    /// What is at the path; nil when nothing is.
    func existing(_ path: GuestPath) throws -> HostEntry? {
        do {
            return try entry(path)
        } catch let error as BackendError where error.code == .notFound {
            return nil
        }
    }
}
