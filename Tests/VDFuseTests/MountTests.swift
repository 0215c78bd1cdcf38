import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What mounts something here, one after the other: tools that look at all mounts stumble over one whose server another test kills.
@Suite(.serialized, .enabled(if: access("/dev/fuse", R_OK | W_OK) == 0, "FUSE is not usable here"))
enum MountTests {}
