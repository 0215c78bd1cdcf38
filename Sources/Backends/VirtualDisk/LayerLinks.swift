/// What a layer of a chain says of itself and of the layer below it.
struct LayerLinks: Sendable, Hashable {
    var uuid: ImageUUID
    /// Changes with every change of the content; nil in formats that have no such thing.
    var modification: ImageUUID?
    /// The layer that is asked for what this one lacks; nil in a base image.
    var parent: ParentLink?
}

/// How a layer names its parent.
struct ParentLink: Sendable, Hashable {
    var uuid: ImageUUID
    /// What the parent's `modification` was when the layer was made on it.
    var modification: ImageUUID?
    /// File names that the image gives its parent. Hostile: only the last component counts, and only together with the uuid.
    var names: [String] = []
}
