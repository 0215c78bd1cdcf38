import Clibvirt
import Synchronization

/// libvirt's events of all domains of one connection, for every machine table that wants them.
///
/// libvirt takes one callback function once for each connection.
final class DomainEvents: Sendable {
    private let tables = Mutex<[ObjectIdentifier: MachineTable]>([:])

    /// Begins to listen on a connection that is kept open.
    ///
    /// - Returns: the number of the callback, below 0 when the connection reports no events.
    func listen(_ connection: OpaquePointer) -> Int32 {
        let events = Unmanaged.passRetained(self)
        let number = av_register_lifecycle(
            connection, lifecycleCallback, events.toOpaque(),
            { $0.map { Unmanaged<DomainEvents>.fromOpaque($0).release() } })
        if number < 0 { events.release() }
        return number
    }

    /// Tells a table from now on.
    func add(_ table: MachineTable) { tables.withLock { $0[ObjectIdentifier(table)] = table } }
    /// Tells a table no more.
    func remove(_ table: MachineTable) { _ = tables.withLock { $0.removeValue(forKey: ObjectIdentifier(table)) } }

    fileprivate func lifecycle(uuid: String, event: UInt32, detail: UInt32) {
        let all = tables.withLock { Array($0.values) }
        for table in all { table.lifecycle(uuid: uuid, event: event, detail: detail) }
    }
}

/// Runs on the event thread; `opaque` is the connection's `DomainEvents`.
private let lifecycleCallback: virConnectDomainEventCallback = { _, domain, event, detail, opaque in
    guard let domain, let opaque else { return 0 }
    var uuid = [CChar](repeating: 0, count: Int(VIR_UUID_STRING_BUFLEN))
    guard virDomainGetUUIDString(domain, &uuid) == 0 else { return 0 }
    let text = String(decoding: uuid.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    Unmanaged<DomainEvents>.fromOpaque(opaque).takeUnretainedValue()
        .lifecycle(uuid: text, event: UInt32(bitPattern: event), detail: UInt32(bitPattern: detail))
    return 0
}
