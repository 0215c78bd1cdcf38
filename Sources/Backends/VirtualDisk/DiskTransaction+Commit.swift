import Abstractions

extension DiskTransaction {
    /// Most bytes of one extent: what the apply moves at once.
    private static let longestExtent: Int64 = 1 << 20

    /// ```
    /// fresh data durable -> log whole and durable -> named IMAGE.redo -> name durable   the commit point
    /// -> written over the image -> durable -> log removed -> removal durable
    /// ```
    /// The last step keeps a log from coming back, after a power failure, over what a machine has written since.
    func commit(_ state: inout State) throws {
        guard !state.pages.isEmpty || state.hasFresh else { return disk.ended(self) }
        let old = disk.layout
        var extents = try placeStagedPages(&state)
        try fillGap(&state)
        let metadata = metadataChanges(state.layout, old)
        guard !extents.isEmpty || !metadata.isEmpty else {
            try disk.file.sync()
            return disk.ended(self)
        }
        let draft = try state.pages.spill()
        try addChecksums(&extents, draft)
        var end = state.pages.logEnd
        for change in metadata {
            try draft.write(at: end, bytes: change.bytes)
            extents.append(
                .init(
                    offset: change.offset, length: Int64(change.bytes.count), logOffset: end,
                    checksum: RedoLog.checksum(change.bytes)))
            end += Int64(change.bytes.count)
        }
        try reserve(extents)
        if state.hasFresh || state.layout.fileLength > old.fileLength { try disk.file.sync() }
        let contents = RedoLog.Contents(
            lengthBefore: old.fileLength, lengthAfter: state.layout.fileLength, mark: try mark(&state, old),
            extents: extents)
        try RedoLog.seal(draft, contents, indexOffset: end)
        let target = RedoLog.path(of: disk.file.path)
        try disk.folder.rename(draft.path, to: target)
        do {
            try disk.folder.sync(target.parent)
        } catch {
            // Undecided, and ours to decide: without its log the image is what it was.
            do {
                try disk.folder.remove(target)
            } catch {
                throw disk.fail(error, "may happen or not")
            }
            throw error
        }
        try disk.replaceContent(self, contents, draft, state.layout)
    }

    /// The image's mark; when it lies in the content, only if it is still there afterwards.
    private func mark(_ state: inout State, _ old: any ImageLayout) throws -> ImageMark? {
        guard let mark = old.mark, old is ForeignLayout else { return old.mark }
        var bytes = mark.bytes
        try bytes.withUnsafeMutableBytes { try read(&state, mark.offset, $0) }
        return bytes == mark.bytes ? mark : nil
    }

    /// Takes back what the transaction did to the files.
    func discard(_ state: inout State) {
        if let draft = state.pages.draft { try? disk.folder.remove(draft.path) }
        disk.dropAppended(self, state.layout)
    }

    /// Gives every staged page its places in the file; neighbours in both the file and the log become one extent.
    private func placeStagedPages(_ state: inout State) throws -> [RedoLog.Extent] {
        var extents: [RedoLog.Extent] = []
        for (page, slot) in state.pages.pagesInDiskOrder {
            let start = page * Int64(PageStore.pageSize)
            let whole = min(Int64(PageStore.pageSize), size - start)
            var done: Int64 = 0
            while done < whole {
                let (place, part) = try givePlace(&state, start + done, whole - done)
                let logOffset = PageStore.logOffset(slot) + done
                if let last = extents.last, last.offset + last.length == place,
                    last.logOffset + last.length == logOffset,
                    last.length + part <= DiskTransaction.longestExtent
                {
                    extents[extents.count - 1].length += part
                } else {
                    extents.append(.init(offset: place, length: part, logOffset: logOffset, checksum: 0))
                }
                done += part
            }
        }
        return extents
    }

    private func addChecksums(_ extents: inout [RedoLog.Extent], _ draft: any ImageFile) throws {
        try withUnsafeTemporaryAllocation(byteCount: Int(DiskTransaction.longestExtent), alignment: 16) { buffer in
            for index in extents.indices {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(extents[index].length)])
                try draft.read(at: extents[index].logOffset, into: part)
                extents[index].checksum = RedoLog.checksum(UnsafeRawBufferPointer(part))
            }
        }
    }

    /// What the apply will write must find room: after the commit point there is no way back.
    private func reserve(_ extents: [RedoLog.Extent]) throws {
        var open: (start: Int64, end: Int64)?
        for extent in extents {
            if let range = open, range.end == extent.offset {
                open = (range.start, extent.offset + extent.length)
                continue
            }
            if let range = open { try disk.file.reserve(at: range.start, count: range.end - range.start) }
            open = (extent.offset, extent.offset + extent.length)
        }
        if let range = open { try disk.file.reserve(at: range.start, count: range.end - range.start) }
        try disk.file.finishReserving()
    }

    private func metadataChanges(_ new: any ImageLayout, _ old: any ImageLayout) -> [(offset: Int64, bytes: [UInt8])] {
        func changes<Layout: ImageLayout>(_ new: Layout) -> [(offset: Int64, bytes: [UInt8])] {
            (old as? Layout).map { new.metadataChanges(from: $0) } ?? []
        }
        return changes(new)
    }
}
