import CExt2fs

#if canImport(Glibc)
    import Glibc
#endif

/// libext2fs's door to our block device: an `io_manager` whose calls reach an `ExtChannel`.
///
/// The library opens a channel by a name alone, so the name carries the channel's address; nobody else ever sees it.
enum ExtManager {
    /// The name under which `open` finds this channel, which must outlive the library's handle.
    static func name(of channel: ExtChannel) -> String {
        String(UInt(bitPattern: Unmanaged.passUnretained(channel).toOpaque()), radix: 16)
    }

    /// A manager; the caller frees it after the library's handle.
    static func make() -> UnsafeMutablePointer<struct_io_manager> {
        let name: StaticString = "anyvisor"
        let manager = UnsafeMutablePointer<struct_io_manager>.allocate(capacity: 1)
        manager.initialize(to: struct_io_manager())
        manager.pointee.magic = errcode_t(EXT2_ET_MAGIC_IO_MANAGER)
        manager.pointee.name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
        manager.pointee.open = { name, _, result in ExtManager.open(name, result) }
        manager.pointee.close = { ExtManager.close($0) }
        manager.pointee.set_blksize = { channel, size in
            ExtManager.with(channel) {
                try $0.setBlockSize(Int(size))
            } then: {
                channel?.pointee.block_size = size
            }
        }
        manager.pointee.read_blk = { channel, block, count, data in
            ExtManager.read(channel, UInt64(block), count, data)
        }
        manager.pointee.read_blk64 = { channel, block, count, data in
            ExtManager.read(channel, block, count, data)
        }
        manager.pointee.write_blk = { channel, block, count, data in
            ExtManager.write(channel, UInt64(block), count, data)
        }
        manager.pointee.write_blk64 = { channel, block, count, data in
            ExtManager.write(channel, block, count, data)
        }
        manager.pointee.write_byte = { channel, offset, count, data in
            ExtManager.with(channel) {
                try $0.write(byte: UInt64(offset), UnsafeRawBufferPointer(start: data, count: Int(count)))
            }
        }
        manager.pointee.flush = { channel in ExtManager.with(channel) { try $0.flush() } }
        return manager
    }

    private static func open(_ name: UnsafePointer<CChar>?, _ result: UnsafeMutablePointer<io_channel?>?) -> errcode_t {
        guard let name, let result, let address = UInt(String(cString: name), radix: 16),
            let context = UnsafeMutableRawPointer(bitPattern: address)
        else { return errcode_t(EXT2_ET_BAD_DEVICE_NAME) }
        // malloc: the library may free the name and the channel itself.
        guard let memory = calloc(1, MemoryLayout<struct_io_channel>.size) else { return errcode_t(EXT2_ET_NO_MEMORY) }
        let channel = memory.bindMemory(to: struct_io_channel.self, capacity: 1)
        channel.pointee.magic = errcode_t(EXT2_ET_MAGIC_IO_CHANNEL)
        channel.pointee.manager = Unmanaged<ExtChannel>.fromOpaque(context).takeUnretainedValue().manager
        channel.pointee.name = strdup(name)
        channel.pointee.block_size = 1024
        channel.pointee.refcount = 1
        channel.pointee.private_data = context
        result.pointee = channel
        return 0
    }

    private static func close(_ channel: io_channel?) -> errcode_t {
        guard let channel else { return 0 }
        channel.pointee.refcount -= 1
        guard channel.pointee.refcount <= 0 else { return 0 }
        free(channel.pointee.name)
        free(channel)
        return 0
    }

    private static func read(
        _ channel: io_channel?, _ block: UInt64, _ count: Int32, _ data: UnsafeMutableRawPointer?
    ) -> errcode_t {
        guard let data else { return errcode_t(EXT2_ET_INVALID_ARGUMENT) }
        return with(channel) { try $0.read(block, Int(count), data) }
    }

    private static func write(
        _ channel: io_channel?, _ block: UInt64, _ count: Int32, _ data: UnsafeRawPointer?
    ) -> errcode_t {
        guard let data else { return errcode_t(EXT2_ET_INVALID_ARGUMENT) }
        return with(channel) { try $0.write(block, Int(count), data) }
    }

    private static func with(
        _ channel: io_channel?, _ body: (ExtChannel) throws -> Void, then: () -> Void = {}
    ) -> errcode_t {
        guard let context = channel?.pointee.private_data else { return errcode_t(EXT2_ET_MAGIC_IO_CHANNEL) }
        let result = Unmanaged<ExtChannel>.fromOpaque(context).takeUnretainedValue().perform(body)
        if result == 0 { then() }
        return errcode_t(result)
    }
}
