/// Looks whether what a report shows is what the summary says.
enum ReportNumbers {
    /// The numbers that people read in the page and that the summary does not have. Pictures are drawn from the same values; their
    /// axes have numbers of their own.
    static func missing(from summary: String, in page: String) -> [String] {
        let known = numbers(in: summary)
        let pictures = page.replacing(#/<(svg|style)\b.*?</(svg|style)>/#.dotMatchesNewlines(), with: " ")
        return numbers(in: pictures.replacing(#/<[^>]*>/#, with: " ")).subtracting(known).sorted()
    }

    private static func numbers(in text: String) -> Set<String> {
        Set(text.matches(of: #/[0-9]+(\.[0-9]+)?(e-?[0-9]+)?/#).map { String($0.output.0) })
    }
}
