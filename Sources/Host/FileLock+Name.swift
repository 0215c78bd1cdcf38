import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

extension FileLock {
    /// Whether the locked file still has the name under which it was opened: false once somebody has removed or replaced it.
    public var isStillNamed: Bool {
        var held = stat()
        var named = stat()
        return withDescriptor { fstat($0, &held) } == 0 && lstat(path.string, &named) == 0
            && held.st_dev == named.st_dev && held.st_ino == named.st_ino
    }
}
