import Abstractions
import Host
import Synchronization

@testable import VirtualDisk

/// A host in memory that forgets what was not synced when its power is cut.
///
/// A file's writes since its last sync survive or not, each for itself and torn at any 512 bytes; names since the folder's last
/// sync survive up to some moment. That is the least that Linux file systems promise.
final class PowerCutHost: SidecarFolder, Sendable {
    private struct Disk {
        var files: [Int: Content] = [:]
        var names: [HostPath: Int] = [:]
        var durableNames: [[HostPath: Int]] = [[:]]
        var callsLeft: Int
        var random: SplitMix
    }

    struct Content {
        var now: [UInt8]
        var durable: [UInt8]
        var pending: [(offset: Int, bytes: [UInt8])] = []
    }

    private let disk: Mutex<Disk>

    /// Cuts the power at the nth call that changes something.
    init(_ image: HostPath, cutAfter calls: Int, seed: UInt64) throws {
        let bytes = try HostFiles.read(image)
        disk = Mutex(
            Disk(
                files: [0: Content(now: bytes, durable: bytes)], names: [image: 0], durableNames: [[image: 0]],
                callsLeft: calls, random: SplitMix(state: seed)))
    }

    func file(_ path: HostPath) -> any ImageFile { disk.withLock { PowerCutFile(path, $0.names[path] ?? -1, self) } }

    /// What a machine finds when the power is back, written to a real folder.
    func restart() throws {
        try disk.withLock { disk in
            let all = Set(disk.durableNames.flatMap(\.keys)).union(disk.names.keys)
            let names = disk.durableNames.randomElement(using: &disk.random) ?? [:]
            for path in all { try HostFiles.removeTree(path) }
            for (path, number) in names {
                guard var content = disk.files[number] else { continue }
                for write in content.pending {
                    for start in stride(from: 0, to: write.bytes.count, by: 512) where Bool.random(using: &disk.random)
                    {
                        let part = write.bytes[start..<min(write.bytes.count, start + 512)]
                        content.durable.put(part, write.offset + start)
                    }
                }
                try HostFiles.write(content.durable, to: path)
            }
        }
    }

    private func step(_ disk: inout Disk) throws {
        disk.callsLeft -= 1
        if disk.callsLeft < 0 { throw BackendError(.crashed, "test", "the power is off") }
    }

    private func changeNames(_ change: (inout [HostPath: Int]) -> Void) throws {
        try disk.withLock { disk in
            try step(&disk)
            change(&disk.names)
            disk.durableNames.append(disk.names)
        }
    }

    func create(_ path: HostPath, beside image: any ImageFile) throws -> any ImageFile {
        let number = disk.withLock { disk in
            disk.files[disk.files.count] = Content(now: [], durable: [])
            return disk.files.count - 1
        }
        try changeNames { $0[path] = number }
        return PowerCutFile(path, number, self)
    }
    func rename(_ path: HostPath, to target: HostPath) throws {
        try changeNames { $0[target] = $0.removeValue(forKey: path) }
    }
    func remove(_ path: HostPath) throws { try changeNames { $0[path] = nil } }
    func sync(_ folder: HostPath) throws {
        try disk.withLock { disk in
            try step(&disk)
            disk.durableNames = [disk.names]
        }
    }

    func change(_ number: Int, _ body: (inout Content) -> Void) throws {
        try disk.withLock { disk in
            try step(&disk)
            body(&disk.files[number, default: Content(now: [], durable: [])])
        }
    }
    func look<Result: Sendable>(_ number: Int, _ body: (Content) -> Result) -> Result {
        disk.withLock { body($0.files[number] ?? Content(now: [], durable: [])) }
    }
}

private final class PowerCutFile: ImageFile {
    let path: HostPath
    private let number: Int
    private let host: PowerCutHost

    init(_ path: HostPath, _ number: Int, _ host: PowerCutHost) {
        self.path = path
        self.number = number
        self.host = host
    }

    func length() throws -> Int64 { host.look(number) { Int64($0.now.count) } }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let bytes = host.look(number) { $0.now.dropFirst(Int(offset)).prefix(buffer.count) }
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        buffer.copyBytes(from: bytes)
    }
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        let bytes = Array(buffer)
        try host.change(number) {
            $0.now.put(bytes[...], Int(offset))
            $0.pending.append((Int(offset), bytes))
        }
    }
    func reserve(at offset: Int64, count: Int64) throws {
        try host.change(number) { $0.now.grow(to: Int(offset + count)) }
    }
    func truncate(to length: Int64) throws {
        try host.change(number) { content in
            content.now.grow(to: Int(length))
            content.now.removeLast(content.now.count - Int(length))
            content.pending.removeAll { $0.offset + $0.bytes.count > Int(length) }
        }
    }
    func sync() throws {
        try host.change(number) {
            $0.durable = $0.now
            $0.pending = []
        }
    }
}

extension [UInt8] {
    fileprivate mutating func grow(to length: Int) {
        if length > count { append(contentsOf: repeatElement(0, count: length - count)) }
    }
    fileprivate mutating func put(_ bytes: ArraySlice<UInt8>, _ offset: Int) {
        grow(to: offset + bytes.count)
        replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }
}

/// Numbers from a printed seed (splitmix64, https://prng.di.unimi.it/splitmix64.c).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
