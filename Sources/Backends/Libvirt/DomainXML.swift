import Abstractions

/// Builds the XML of a domain from a spec.
struct DomainXML {
    let dialect: LibvirtDialect
    let spec: MachineSpec
    let uuid: String
    let emulator: HostPath?
    let console: HostPath?
    let bus: DiskBus
    let cache: String

    /// The document.
    ///
    /// - Throws: `invalidArgument` for a text that XML cannot hold, or more disks than the bus takes.
    func document() throws -> String {
        try refuseControlCharacters()
        var domain = XMLElement("domain", [("type", dialect.domainType)])
        domain.append(XMLElement("name", text: spec.id.rawValue))
        domain.append(XMLElement("uuid", text: uuid))
        if paravirtual != nil, let console { domain.append(DomainDescription.consoleMark(console)) }
        domain.append(XMLElement("memory", [("unit", "KiB")], text: "\((spec.memory.bytes + 1023) / 1024)"))
        domain.append(XMLElement("vcpu", text: "\(spec.cpus)"))
        domain.append(system)
        domain.append(XMLElement("features", [], dialect.platform.map { XMLElement($0) }))
        if let processor { domain.append(processor) }
        if let clock = dialect.clock { domain.append(clock) }
        // Every way for a guest to end is an end: a kernel that panics resets, and must not boot a second time.
        for happening in ["on_poweroff", "on_reboot", "on_crash"] {
            domain.append(XMLElement(happening, text: "destroy"))
        }
        domain.append(XMLElement("devices", [], try devices()))
        return domain.document
    }

    private var paravirtual: LibvirtDialect.Paravirtual? {
        if case .kernel = spec.boot { dialect.paravirtual } else { nil }
    }

    private var processor: XMLElement? {
        dialect.cpuMode.map { mode in
            XMLElement(
                "cpu", [("mode", mode), ("check", "none")],
                dialect.cpuFeaturesOff.map { XMLElement("feature", [("policy", "disable"), ("name", $0)]) })
        }
    }

    private var system: XMLElement {
        var type: [(String, String)] = []
        if let machine = paravirtual?.machineType ?? dialect.machineType {
            type = [("arch", "x86_64"), ("machine", machine)]
        }
        var system = XMLElement("os", [], [XMLElement("type", type, text: paravirtual?.guestType ?? "hvm")])
        switch spec.boot {
        case .disk: system.append(XMLElement("boot", [("dev", "hd")]))
        case .cdrom: system.append(XMLElement("boot", [("dev", "cdrom")]))
        case .kernel(let boot):
            system.append(XMLElement("kernel", text: boot.kernel.string))
            if let initrd = boot.initrd { system.append(XMLElement("initrd", text: initrd.string)) }
            // Of several consoles the last one is the guest's /dev/console.
            let words = [boot.commandLine] + (paravirtual.map { ["console=\($0.console)"] } ?? [])
            let line = words.filter { !$0.isEmpty }.joined(separator: " ")
            if !line.isEmpty { system.append(XMLElement("cmdline", text: line)) }
        }
        return system
    }

    private func devices() throws -> [XMLElement] {
        var devices: [XMLElement] = []
        if let emulator { devices.append(XMLElement("emulator", text: emulator.string)) }
        devices += try disks()
        if let network { devices.append(network) }
        guard dialect.features.contains(.executesGuests) else { return devices }
        devices += dialect.spareDevices
        if dialect.features.contains(.screenshot) {
            devices.append(XMLElement("video", [], [XMLElement("model", [("type", dialect.videoModel)])]))
        }
        if paravirtual != nil {
            devices.append(
                XMLElement(
                    "console", [("type", "pty")], [XMLElement("target", [("type", "xen"), ("port", "0")])]))
        } else if let console {
            devices.append(
                XMLElement(
                    "serial", [("type", "file")],
                    [
                        // What an earlier start printed stays.
                        XMLElement(
                            "source", [("path", console.string), ("append", dialect.keepsConsole ? "on" : "off")]),
                        XMLElement("target", [("port", "0")]),
                    ]))
        }
        return devices
    }

    private func disks() throws -> [XMLElement] {
        var elements: [XMLElement] = []
        var used: [DiskBus: Int] = [:]
        func place(_ bus: DiskBus) throws -> XMLElement {
            // A guest of Xen gives an IDE disk the same name as the one of Xen's own bus with that letter.
            let index = dialect.readOnlyBus == .xen ? used.values.reduce(0, +) : used[bus, default: 0]
            used[bus, default: 0] += 1
            guard index < bus.capacity else {
                throw BackendError(
                    .invalidArgument, "machine.create",
                    "machine '\(spec.id)' has more than the \(bus.capacity) disks that \(bus.rawValue) takes")
            }
            return XMLElement("target", [("dev", bus.target(index)), ("bus", bus.rawValue)])
        }
        for disk in spec.disks {
            // QEMU's IDE disks cannot be read-only.
            let target = try place(disk.readOnly ? dialect.readOnlyBus : bus)
            var kind = [("type", "file"), ("device", "disk")]
            if disk.role == .io { kind.append(("snapshot", "no")) }
            var element = XMLElement("disk", kind)
            element.append(driver(disk.image.format.rawValue))
            element.append(XMLElement("source", [("file", disk.image.path.string)]))
            element.append(target)
            if disk.readOnly { element.append(XMLElement("readonly")) }
            elements.append(element)
        }
        if case .cdrom(let image) = spec.boot {
            elements.append(
                XMLElement(
                    "disk", [("type", "file"), ("device", "cdrom")],
                    [
                        driver("raw"), XMLElement("source", [("file", image.string)]), try place(.ide),
                        XMLElement("readonly"),
                    ]))
        }
        return elements
    }

    private func driver(_ format: String) -> XMLElement {
        XMLElement("driver", [("name", "qemu"), ("type", format), ("cache", cache)])
    }

    private var network: XMLElement? {
        switch spec.network {
        case .none: nil
        // No boot ROM: booting from the network is what nobody asked for, and looking for it takes a second.
        case .user:
            XMLElement(
                "interface", [("type", "user")],
                [
                    XMLElement("model", [("type", bus == .ide ? "e1000" : "virtio")]),
                    XMLElement("rom", [("enabled", "no")]),
                ])
        }
    }

    private func refuseControlCharacters() throws {
        var texts = spec.disks.map(\.image.path.string) + [console?.string ?? "", emulator?.string ?? ""]
        switch spec.boot {
        case .disk: break
        case .cdrom(let image): texts.append(image.string)
        case .kernel(let boot): texts += [boot.kernel.string, boot.initrd?.string ?? "", boot.commandLine]
        }
        if let bad = texts.first(where: { !XMLElement.canHold($0) }) {
            throw BackendError(
                .invalidArgument, "machine.create",
                "machine '\(spec.id)': '\(bad)' has a control character, which libvirt's XML cannot hold")
        }
    }
}
