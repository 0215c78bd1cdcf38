/// Pages that need no other file, for a screen of any width and for paper.
package enum HTMLPage {
    /// A whole page with a heading.
    package static func document(_ title: String, _ body: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(escaped(title))</title>
        <style>\(style)</style>
        </head>
        <body>
        <main>
        <h1>\(escaped(title))</h1>
        \(body)
        </main>
        </body>
        </html>

        """
    }

    /// A table; the first row is its head, the first column names the rows.
    package static func table(_ rows: [[String]], hasHead: Bool = true, isText: Bool = false) -> String {
        let head = rows.first?.map { "<th scope=\"col\">\(escaped($0))</th>" }.joined() ?? ""
        let body = rows.dropFirst().map { row in
            let cells = row.enumerated().map { place, text in
                place == 0 ? "<th scope=\"row\">\(escaped(text))</th>" : "<td>\(escaped(text))</td>"
            }
            return "<tr>\(cells.joined())</tr>"
        }.joined(separator: "\n")
        return
            "<div class=\"wide\(isText ? " text" : "")\"><table>\(hasHead ? "<thead><tr>\(head)</tr></thead>" : "")<tbody>\(body)</tbody></table></div>"
    }

    /// The text as it stands between tags and in attributes.
    package static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
    }

    private static let style = """
        :root { color-scheme: light dark; }
        body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
        main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
        .verdict { font-size: 1.25rem; font-weight: 600; }
        .warnings { border-left: 4px solid #c60; padding-left: 1.5rem; }
        .wide { overflow-x: auto; margin: 0 0 1rem; }
        table { border-collapse: collapse; font-size: 0.9rem; }
        th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; white-space: nowrap; }
        .text td, .text tbody th { white-space: normal; overflow-wrap: anywhere; }
        figure { margin: 1rem 0; }
        figure svg { width: 100%; height: auto; background: #fff; }
        figcaption { font-size: 0.9rem; }
        @media print { main { max-width: none; } details > * { display: block; } .wide { overflow: visible; } }
        """
}
