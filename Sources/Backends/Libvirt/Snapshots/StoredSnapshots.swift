import Abstractions
import BackendSupport
import Clibvirt
import FoundationEssentials

#if canImport(Glibc)
    import Glibc
#endif

/// A machine's tree of snapshots in its domain's metadata, where it lives and goes with the domain.
///
/// The images hold names without an order, and libvirt's own list takes no snapshot that leaves a disk out.
enum StoredSnapshots {
    /// What is kept of each: whether the guest ran or was paused.
    typealias Tree = SnapshotTree<MachineState>

    private static let namespace = "urn:anyvisor:snapshots"

    /// The tree; an empty one when none was stored.
    ///
    /// - Throws: what libvirt says, `corrupt` for what is not a tree.
    static func load(_ domain: OpaquePointer, _ operation: String) throws -> Tree {
        let found = virDomainGetMetadata(
            domain, Int32(VIR_DOMAIN_METADATA_ELEMENT.rawValue), namespace, VIR_DOMAIN_AFFECT_CONFIG.rawValue)
        guard let found else {
            if lastLibvirtError(is: VIR_ERR_NO_DOMAIN_METADATA) { return Tree() }
            throw libvirtError(operation, "the snapshots of a machine cannot be read")
        }
        defer { free(found) }
        let xml = String(cString: found)
        guard let start = xml.firstIndex(of: ">"), let end = xml.lastIndex(of: "<"), start < end else { return Tree() }
        let text = DomainDescription.unescape(xml[xml.index(after: start)..<end])
        guard let tree = try? JSONDecoder().decode(Tree.self, from: Data(text.utf8)) else {
            throw BackendError(.corrupt, operation, "the machine's list of snapshots cannot be read", blame: .host)
        }
        return tree
    }

    /// Keeps the tree.
    ///
    /// - Throws: what libvirt says.
    static func store(_ tree: Tree, _ domain: OpaquePointer, _ operation: String) throws {
        let text = String(decoding: try JSONEncoder().encode(tree), as: UTF8.self)
        let xml = XMLElement("snapshots", text: text).document
        guard
            virDomainSetMetadata(
                domain, Int32(VIR_DOMAIN_METADATA_ELEMENT.rawValue), xml, "anyvisor", namespace,
                VIR_DOMAIN_AFFECT_CONFIG.rawValue) == 0
        else { throw libvirtError(operation, "the snapshots of a machine cannot be stored") }
    }
}
