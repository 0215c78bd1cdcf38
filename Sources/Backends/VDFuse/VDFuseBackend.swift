import Abstractions
import Host

/// The disk backend `vdfuse`: an image shown as files by libfuse3, its partitions mounted on top.
public enum VDFuseBackend {
    /// How it is registered.
    public static let descriptor = BackendDescriptor(
        name: "vdfuse",
        summary: "mounts the image: FUSE shows its partitions, the kernel, fuse2fs or ntfs-3g reads them",
        options: options,
        factory: .disk { VDFuseAccess($0) })

    private static let options = [
        OptionDeclaration(
            "mounter", .string, default: "auto",
            help:
                "who mounts a volume: the kernel (root), fuse2fs (anybody), or the first that works",
            choices: ["auto", "kernel", "fuse2fs"]),
        OptionDeclaration("server", .path, help: "the program that serves the files, when it is not found by itself"),
    ]
}
