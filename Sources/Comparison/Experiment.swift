import Abstractions
import Host

/// Something that is measured once in every cell of every block.
public protocol Experiment: Sendable {
    /// Measures a cell once; never throws, what goes wrong is the sample's `why`.
    ///
    /// - Parameter folder: where the raw data of this measurement goes; not there yet.
    func measure(_ cell: Cell, into folder: HostPath) async -> Measurement

    /// Says in which respects the raw data of two measurements of different cells differs, after what the recipe masks.
    ///
    /// - Throws: what the host says about a file.
    func differences(_ first: HostPath, _ second: HostPath) throws -> [String]

    /// Ends what was kept between measurements.
    func close() async
}

/// What came of measuring a cell once.
public struct Measurement: Sendable {
    /// Everything measured; empty when it failed.
    public var values: [String: Quantity] = [:]
    /// Why there is no measurement, nil when there is.
    public var why: String?
    /// Versions of what took part, by name.
    public var versions: [String: String] = [:]
    /// Identities of the images that were used, by name.
    public var images: [String: String] = [:]

    /// A measurement that has its values still to come.
    public init() {}

    /// A measurement that failed.
    public init(why: String) { self.why = why }
}
