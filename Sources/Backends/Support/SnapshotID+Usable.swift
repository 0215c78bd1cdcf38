import Abstractions

extension SnapshotID {
    /// Refuses a name that a hypervisor's tools would misread.
    ///
    /// - Throws: `invalidArgument` for one that is empty, longer than 200 bytes, begins with a dash or has a control character.
    public func refuseUnusable(_ operation: String) throws {
        let scalars = rawValue.unicodeScalars
        guard let first = scalars.first, first != "-", rawValue.utf8.count <= 200,
            !scalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f })
        else {
            throw BackendError(
                .invalidArgument, operation,
                "snapshot name '\(self)' is empty, longer than 200 bytes, begins with a dash or has a control character",
                blame: .caller)
        }
    }
}
