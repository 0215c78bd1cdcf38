// How cases stand on the wire, so that any language reads them: one without a value is its bare name, one with a value is an
// object with the name as its only key. The compiler's own form has keys like `_0`.

private struct CaseName: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

extension Encoder {
    fileprivate func encode(caseNamed name: String) throws {
        var container = singleValueContainer()
        try container.encode(name)
    }

    fileprivate func encode(caseNamed name: String, _ value: some Encodable) throws {
        var container = container(keyedBy: CaseName.self)
        try container.encode(value, forKey: CaseName(name))
    }
}

extension Decoder {
    fileprivate func isCase(_ name: String) -> Bool {
        (try? singleValueContainer().decode(String.self)) == name
    }

    fileprivate func value<Value: Decodable>(ofCase name: String) throws -> Value? {
        guard let container = try? container(keyedBy: CaseName.self) else { return nil }
        return try container.decodeIfPresent(Value.self, forKey: CaseName(name))
    }

    fileprivate func noCase(of type: Any.Type) -> DecodingError {
        DecodingError.dataCorrupted(.init(codingPath: codingPath, debugDescription: "no known case of \(type)"))
    }
}

extension MachineSpec.BootSource {
    /// Reads `"disk"`, `{"kernel": {…}}` or `{"cdrom": "path"}`.
    public init(from decoder: any Decoder) throws {
        if decoder.isCase("disk") {
            self = .disk
        } else if let kernel: MachineSpec.KernelBoot = try decoder.value(ofCase: "kernel") {
            self = .kernel(kernel)
        } else if let image: HostPath = try decoder.value(ofCase: "cdrom") {
            self = .cdrom(image)
        } else {
            throw decoder.noCase(of: Self.self)
        }
    }

    /// Writes `"disk"`, `{"kernel": {…}}` or `{"cdrom": "path"}`.
    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .disk: try encoder.encode(caseNamed: "disk")
        case .kernel(let kernel): try encoder.encode(caseNamed: "kernel", kernel)
        case .cdrom(let image): try encoder.encode(caseNamed: "cdrom", image)
        }
    }
}

extension CopyPolicy {
    /// Reads `"faithful"` or `{"untrusted": {…}}`.
    public init(from decoder: any Decoder) throws {
        if decoder.isCase("faithful") {
            self = .faithful
        } else if let limits: CopyLimits = try decoder.value(ofCase: "untrusted") {
            self = .untrusted(limits)
        } else {
            throw decoder.noCase(of: Self.self)
        }
    }

    /// Writes `"faithful"` or `{"untrusted": {…}}`.
    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .faithful: try encoder.encode(caseNamed: "faithful")
        case .untrusted(let limits): try encoder.encode(caseNamed: "untrusted", limits)
        }
    }
}

extension MachineEvent {
    /// Reads `{"state": "running"}`, `"gone"` or `{"lost": {…}}`.
    public init(from decoder: any Decoder) throws {
        if decoder.isCase("gone") {
            self = .gone
        } else if let state: MachineState = try decoder.value(ofCase: "state") {
            self = .state(state)
        } else if let error: BackendError = try decoder.value(ofCase: "lost") {
            self = .lost(error)
        } else {
            throw decoder.noCase(of: Self.self)
        }
    }

    /// Writes `{"state": "running"}`, `"gone"` or `{"lost": {…}}`.
    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .gone: try encoder.encode(caseNamed: "gone")
        case .state(let state): try encoder.encode(caseNamed: "state", state)
        case .lost(let error): try encoder.encode(caseNamed: "lost", error)
        }
    }
}
