/// One element of a document that is built, never pasted together: every text is escaped on its way out.
struct XMLElement {
    private let name: String
    private var attributes: [(String, String)]
    private var children: [XMLElement]
    private var text: String?

    init(_ name: String, _ attributes: [(String, String)] = [], _ children: [XMLElement] = []) {
        self.name = name
        self.attributes = attributes
        self.children = children
    }

    init(_ name: String, _ attributes: [(String, String)] = [], text: String) {
        self.name = name
        self.attributes = attributes
        children = []
        self.text = text
    }

    mutating func append(_ child: XMLElement) { children.append(child) }

    /// The element as a document.
    var document: String {
        let start = name + attributes.map { " \($0.0)='\(XMLElement.escape($0.1))'" }.joined()
        if let text { return "<\(start)>\(XMLElement.escape(text))</\(name)>" }
        if children.isEmpty { return "<\(start)/>" }
        return "<\(start)>" + children.map(\.document).joined() + "</\(name)>"
    }

    /// Whether a text can stand in XML 1.0 at all: most control characters have no form there, not even an escaped one.
    static func canHold(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && $0.value != 0xfffe && $0.value != 0xffff || [0x09, 0x0a, 0x0d].contains($0.value)
        }
    }

    // White space is written as references, or a parser would turn it into plain spaces inside an attribute.
    static func escape(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "'": result += "&apos;"
            case "\"": result += "&quot;"
            case "\t", "\n", "\r": result += "&#\(scalar.value);"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
