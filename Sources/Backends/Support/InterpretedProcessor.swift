/// The processor of a guest whose instructions QEMU interprets (TCG).
public enum InterpretedProcessor {
    /// What its fullest model `max` has and a guest is faster without: with erms, kernel and C library copy memory by `rep movsb`,
    /// which the interpreter does byte by byte; la57 makes it walk one more level of each page table.
    public static let slowFeatures = ["erms", "la57"]
}
