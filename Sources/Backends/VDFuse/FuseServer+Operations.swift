import Abstractions
import CFuse3

#if canImport(Glibc)
    import Glibc
#endif

/// What the kernel asks. Inode 1 is the folder, inode 2 + n file n.
extension FuseServer {
    static var operations: fuse_lowlevel_ops {
        var operations = fuse_lowlevel_ops()
        operations.`init` = { _, connection in
            connection?.pointee.max_write = 1 << 20
            connection?.pointee.max_readahead = 1 << 20
        }
        operations.lookup = { request, parent, name in FuseServer.of(request).lookup(request, parent, name) }
        operations.getattr = { request, inode, _ in FuseServer.of(request).attributes(request, inode) }
        operations.setattr = { request, inode, wanted, fields, _ in
            FuseServer.of(request).change(request, inode, wanted, fields)
        }
        operations.open = { request, inode, info in FuseServer.of(request).open(request, inode, info) }
        operations.read = { request, inode, count, offset, _ in
            FuseServer.of(request).read(request, inode, count, Int64(offset))
        }
        operations.write = { request, inode, bytes, count, offset, _ in
            FuseServer.of(request).write(
                request, inode, UnsafeRawBufferPointer(start: bytes, count: count), Int64(offset))
        }
        operations.readdir = { request, inode, count, offset, _ in
            FuseServer.of(request).list(request, inode, count, Int(offset))
        }
        operations.fsync = { request, _, _, _ in FuseServer.of(request).sync(request) }
        operations.flush = { request, _, _ in FuseServer.of(request).sync(request) }
        // A loop device lets its file go without a flush. The kernel hears no error here; the next sync tells it.
        operations.release = { request, _, _ in
            try? FuseServer.of(request).disk.sync()
            fuse_reply_err(request, 0)
        }
        refuseChanges(&operations)
        return operations
    }

    /// The folder is what the disk is: nothing is made, renamed or removed in it.
    private static func refuseChanges(_ operations: inout fuse_lowlevel_ops) {
        operations.create = { request, _, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.mknod = { request, _, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.mkdir = { request, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.symlink = { request, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.link = { request, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.unlink = { request, _, _ in fuse_reply_err(request, EPERM) }
        operations.rmdir = { request, _, _ in fuse_reply_err(request, EPERM) }
        operations.rename = { request, _, _, _, _, _ in fuse_reply_err(request, EPERM) }
        operations.fallocate = { request, _, _, _, _, _ in fuse_reply_err(request, EOPNOTSUPP) }
    }

    private static func of(_ request: fuse_req_t?) -> FuseServer {
        // The server lives as long as its session, and libfuse hands back what fuse_session_new was given.
        guard let pointer = fuse_req_userdata(request) else { fatalError("libfuse lost its user data") }
        return Unmanaged<FuseServer>.fromOpaque(pointer).takeUnretainedValue()
    }

    private func file(_ inode: fuse_ino_t) -> ServedFile? {
        let index = Int(inode) - 2
        return disk.files.indices.contains(index) ? disk.files[index] : nil
    }

    private func status(_ inode: fuse_ino_t) -> stat? {
        var info = stat()
        info.st_ino = ino_t(inode)
        info.st_uid = getuid()
        info.st_gid = getgid()
        info.st_mtim.tv_sec = started
        info.st_ctim.tv_sec = started
        info.st_atim.tv_sec = started
        if inode == 1 {
            info.st_mode = S_IFDIR | 0o500
            info.st_nlink = 2
            return info
        }
        guard let file = file(inode) else { return nil }
        info.st_mode = S_IFREG | (disk.isWritable ? 0o600 : 0o400)
        info.st_nlink = 1
        info.st_size = off_t(file.size)
        info.st_blocks = blkcnt_t((file.size + 511) / 512)
        return info
    }

    private func lookup(_ request: fuse_req_t?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
        let wanted = name.map { String(cString: $0) }
        guard parent == 1, let index = disk.files.firstIndex(where: { $0.name == wanted }),
            let info = status(fuse_ino_t(index + 2))
        else {
            fuse_reply_err(request, ENOENT)
            return
        }
        var entry = fuse_entry_param()
        entry.ino = fuse_ino_t(info.st_ino)
        entry.attr = info
        entry.attr_timeout = 3600
        entry.entry_timeout = 3600
        fuse_reply_entry(request, &entry)
    }

    private func attributes(_ request: fuse_req_t?, _ inode: fuse_ino_t) {
        guard var info = status(inode) else {
            fuse_reply_err(request, ENOENT)
            return
        }
        fuse_reply_attr(request, &info, 3600)
    }

    /// Times may be set, to no effect. The size is the disk's: it may be set to itself, a device has no room for more, and what
    /// would be cut off is the disk's content.
    private func change(
        _ request: fuse_req_t?, _ inode: fuse_ino_t, _ wanted: UnsafeMutablePointer<stat>?, _ fields: Int32
    ) {
        if fields & FUSE_SET_ATTR_SIZE != 0, let wanted, let file = file(inode) {
            let size = Int64(wanted.pointee.st_size)
            guard size == file.size else {
                fuse_reply_err(request, !disk.isWritable ? EROFS : size > file.size ? ENOSPC : EPERM)
                return
            }
        }
        if fields & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) != 0 {
            fuse_reply_err(request, EPERM)
        } else {
            attributes(request, inode)
        }
    }

    /// O_TRUNC is ignored, as by a device: so `dd` and `cp` may write to the disk.
    private func open(_ request: fuse_req_t?, _ inode: fuse_ino_t, _ info: UnsafeMutablePointer<fuse_file_info>?) {
        guard file(inode) != nil, let info else {
            fuse_reply_err(request, inode == 1 ? EISDIR : ENOENT)
            return
        }
        guard disk.isWritable || info.pointee.flags & O_ACCMODE == O_RDONLY else {
            fuse_reply_err(request, EROFS)
            return
        }
        // No page cache while anybody writes: a partition and the whole disk show the same bytes, and must agree.
        info.pointee.direct_io = isCached ? 0 : 1
        info.pointee.keep_cache = isCached ? 1 : 0
        fuse_reply_open(request, info)
    }

    private func read(_ request: fuse_req_t?, _ inode: fuse_ino_t, _ count: Int, _ offset: Int64) {
        guard let file = file(inode), offset >= 0 else {
            fuse_reply_err(request, EINVAL)
            return
        }
        let count = Int(max(0, min(Int64(min(count, buffer.count)), file.size - offset)))
        do {
            try disk.read(file, at: offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
            fuse_reply_buf(request, buffer.baseAddress?.assumingMemoryBound(to: CChar.self), count)
        } catch {
            fuse_reply_err(request, FuseServer.number(of: error))
        }
    }

    private func write(_ request: fuse_req_t?, _ inode: fuse_ino_t, _ bytes: UnsafeRawBufferPointer, _ offset: Int64) {
        guard let file = file(inode), offset >= 0 else {
            fuse_reply_err(request, EINVAL)
            return
        }
        // A disk does not grow.
        guard Int64(bytes.count) <= file.size - offset else {
            fuse_reply_err(request, ENOSPC)
            return
        }
        do {
            try disk.write(file, at: offset, from: bytes)
            fuse_reply_write(request, bytes.count)
        } catch {
            fuse_reply_err(request, FuseServer.number(of: error))
        }
    }

    private func list(_ request: fuse_req_t?, _ inode: fuse_ino_t, _ count: Int, _ offset: Int) {
        guard inode == 1 else {
            fuse_reply_err(request, ENOTDIR)
            return
        }
        let limit = min(count, buffer.count)
        let start = buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
        var used = 0
        let names = [(".", fuse_ino_t(1)), ("..", 1)] + disk.files.enumerated().map { ($1.name, fuse_ino_t($0 + 2)) }
        for (index, (name, inode)) in names.enumerated().dropFirst(max(0, offset)) {
            guard var info = status(inode) else { continue }
            let needed = fuse_add_direntry(
                request, start.map { $0 + used }, limit - used, name, &info, off_t(index + 1))
            if needed > limit - used { break }
            used += needed
        }
        fuse_reply_buf(request, start, used)
    }

    private func sync(_ request: fuse_req_t?) {
        do {
            try disk.sync()
            fuse_reply_err(request, 0)
        } catch {
            fuse_reply_err(request, FuseServer.number(of: error))
        }
    }

    private static func number(of error: any Error) -> Int32 {
        let known = error as? BackendError
        if known?.code == .noSpace { return ENOSPC }
        if let native = known?.native, native.domain == "errno" { return Int32(clamping: native.code) }
        return EIO
    }
}
