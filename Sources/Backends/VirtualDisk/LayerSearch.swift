import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The images in the folders around a layer, by what they say of themselves.
///
/// VirtualBox keeps a base as `DIR/NAME.vdi` and its layers as `DIR/Snapshots/{UUID}.vdi`: the search looks beside the image,
/// down into `Snapshots` and up from it. What an image says about its parent's place is never followed out of these folders.
struct LayerSearch: Sendable {
    /// An image that was found.
    struct Entry: Sendable {
        /// Where, with links resolved.
        var path: HostPath
        var links: LayerLinks
    }

    private let known: KnownFormat?
    /// The folders that were searched, in order.
    private(set) var folders: [HostPath] = []
    /// What lies there, each file once.
    private(set) var entries: [Entry] = []
    private var looked: Set<HostPath> = []

    /// Looks around an image.
    init(around image: DiskImage) {
        known = KnownFormat.of(image.format)
        extend(around: image.path)
        for folder in image.parentFolders ?? [] {
            add(folder)
            add(folder.appending("Snapshots"))
        }
    }

    /// Looks around another layer of the same chain too.
    mutating func extend(around path: HostPath) {
        let folder = HostFiles.absolute(path).parent
        add(folder)
        add(folder.appending("Snapshots"))
        if folder.name == "Snapshots" { add(folder.parent) }
    }

    /// The images with the uuid of a parent, those of a name that the child gives first.
    mutating func images(named link: ParentLink) -> [Entry] {
        let names = Set(link.names.compactMap(LayerSearch.lastComponent))
        for folder in folders { for name in names { look(at: folder.appending(name)) } }
        let found = entries.filter { $0.links.uuid == link.uuid }
        return found.filter { names.contains($0.path.name) } + found.filter { !names.contains($0.path.name) }
    }

    /// The images that name this one as their parent.
    func children(of uuid: ImageUUID) -> [Entry] { entries.filter { $0.links.parent?.uuid == uuid } }

    private mutating func add(_ folder: HostPath) {
        guard HostFiles.isDirectory(folder), let real = HostFiles.resolved(folder), !folders.contains(real) else {
            return
        }
        folders.append(real)
        for name in HostFiles.names(in: real).sorted()
        where known?.extensions.contains(HostPath(name).fileExtension) == true {
            look(at: real.appending(name))
        }
    }

    private mutating func look(at path: HostPath) {
        // What cannot be read or is no image is nobody's parent.
        guard let real = HostFiles.resolved(path), looked.insert(real).inserted,
            let file = try? PosixFile(real, O_RDONLY), !file.isBlockDevice, let links = try? known?.links?(file)
        else { return }
        entries.append(Entry(path: real, links: links))
    }

    /// The name of a file in a path of any system; nil when there is none that could be used.
    private static func lastComponent(_ path: String) -> String? {
        let name = path.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last.map(String.init)
        guard let name, name != ".", name != "..", !name.utf8.contains(0), name.utf8.count <= 255 else { return nil }
        return name
    }
}
