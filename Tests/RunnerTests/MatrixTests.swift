import Abstractions
import Testing

@testable import Runner

@Suite("A matrix")
struct MatrixTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    private func recipes(_ text: String) throws -> [Recipe] { try Recipe.all(in: try folder.write("r.yaml", text)) }

    private func problems(_ text: String) throws -> [String] {
        do {
            _ = try recipes(text)
            return []
        } catch let problems as Problems {
            return problems.diagnostics.map { "\($0.place.line):\($0.place.column) \($0.message)" }
        }
    }

    @Test("gives the full product, the last name the fastest, as the values were written")
    func product() throws {
        let found = try recipes(
            """
            matrix:
              version: ["1.10", 1.20]
              n: [1, 2, 3]
            image: tiny
            tasks: [{id: a, run: x}]
            """)
        #expect(
            found.map { $0.matrix.values.map(\.text) } == [
                ["1.10", "1"], ["1.10", "2"], ["1.10", "3"], ["1.20", "1"], ["1.20", "2"], ["1.20", "3"],
            ])
        #expect(found.first?.matrix.values.map(\.name) == ["version", "n"])
    }

    @Test("has its values in every part of the recipe, not in keys")
    func everywhere() throws {
        let found = try recipes(
            """
            matrix: {v: ["7"], word: ["null"]}
            name: n${{matrix.v}}
            image: ${{ matrix.word }}
            machine: {memory: "${{ matrix.v }}MiB", cpus: "${{ matrix.v }}"}
            hypervisor: {prefer: [a], options: {a: {"${{ matrix.v }}": "${{ matrix.v }}"}}}
            deadlines: {boot: "${{ matrix.v }}s"}
            inputs: [{python: "six==${{ matrix.v }}"}, {file: "${{ matrix.v }}.csv"}]
            tasks:
              - id: t${{ matrix.v }}
                run: |
                  echo ${{ matrix.v }}${{matrix.v}}
                artifacts: ["${{ matrix.v }}*"]
                env: {A: "${{ matrix.word }}"}
            """)
        let recipe = try #require(found.first)
        #expect(recipe.name == "n7")
        #expect(recipe.image == .name("null"))
        #expect(recipe.machine == MachineShape(cpus: 7, memory: .mib(7)))
        #expect(recipe.hypervisor.options == ["a": ["${{ matrix.v }}": "7"]])
        #expect(recipe.deadlines == [.boot: .seconds(7)])
        #expect(recipe.inputs == [.python("six==7"), .file(folder.path.appending("7.csv"))])
        #expect(recipe.tasks.map(\.id) == ["t7"])
        #expect(recipe.tasks.first?.run == "echo 77\n")
        #expect(recipe.tasks.first?.artifacts == ["7*"])
    }

    @Test("is in each task's environment, unless the task has a variable of that name")
    func environment() throws {
        let found = try recipes(
            """
            matrix: {python-version: [3.11], a.b: [x]}
            image: tiny
            tasks:
              - {id: a, run: x}
              - {id: b, run: x, env: {MATRIX_A_B: own}}
            """)
        let tasks = try #require(found.first?.tasks)
        #expect(tasks[0].environment == ["MATRIX_PYTHON_VERSION": "3.11", "MATRIX_A_B": "x"])
        #expect(tasks[1].environment == ["MATRIX_PYTHON_VERSION": "3.11", "MATRIX_A_B": "own"])
    }

    @Test("that is not there leaves a recipe as it is")
    func without() throws {
        let found = try recipes("image: tiny\ntasks: [{id: a, run: \"echo ${{ matrix.x }} ${{\"}]\n")
        #expect(found.count == 1)
        #expect(found.first?.tasks.first?.run == "echo ${{ matrix.x }} ${{")
        #expect(found.first?.tasks.first?.environment == [:])
    }

    @Test("with an unknown or unclosed reference is refused with the place of each")
    func references() throws {
        let found = try problems(
            """
            matrix: {version: [1]}
            image: tiny
            inputs: [{python: "six==${{ matrix.versoin }}"}]
            tasks:
              - id: a
                run: |
                  echo é ${{ matrix.version }} ${{ matrix.version
                  echo ${{ github.sha }} ${{ matrix.verison }}
                env: {B: "${{"}
            """)
        #expect(
            found == [
                "3:25 unknown reference 'matrix.versoin', did you mean 'matrix.version'?",
                "7:36 '${{' is not closed by '}}' on its line",
                "8:12 unknown reference 'github.sha', known: matrix.version",
                "8:30 unknown reference 'matrix.verison', did you mean 'matrix.version'?",
                "9:15 '${{' is not closed by '}}' on its line",
            ])
    }

    @Test(
        "that cannot be meant is refused with its place",
        arguments: [
            ("[a]", "1:9 matrix must be a mapping of keys and values"),
            ("{}", "1:9 matrix is empty"),
            ("{a: []}", "1:13 matrix.a is empty"),
            ("{a: {b: c}}", "1:13 matrix.a must be a list"),
            ("{a: [x, [y]]}", "1:17 each of matrix.a must be text"),
            ("{a: [x, ~]}", "1:17 each of matrix.a must be text"),
            (#"{a: [x, "y\nz"]}"#, "1:17 each of matrix.a must be one line of text"),
            ("{a: [x, y, x]}", "1:20 matrix.a has 'x' twice"),
            ("{a b: [x]}", "1:10 matrix name 'a b' must be letters, digits, dots, underscores and dashes, at most 64"),
            ("{a-b: [x], A.b: [x]}", "1:20 'a-b' and 'A.b' would both be the variable MATRIX_A_B"),
        ])
    func bad(matrix: String, message: String) throws {
        #expect(try problems("matrix: \(matrix)\nimage: tiny\ntasks: [{id: a, run: x}]\n") == [message])
    }

    @Test("of a thousand runs is taken, of one more it is not")
    func size() throws {
        func text(_ count: Int) -> String {
            "matrix: {a: [\((1...count).map(String.init).joined(separator: ", "))], b: [x], c: [1, 2]}\n"
                + "image: tiny\ntasks: [{id: a, run: x}]\n"
        }
        #expect(try recipes(text(500)).count == 1000)
        #expect(try problems(text(501)) == ["1:9 the matrix has 1002 runs, more than 1000"])
        let axes = (0..<10).map { "a\($0): [\((0..<100).map(String.init).joined(separator: ", "))]" }
        let endless = "matrix: {\(axes.joined(separator: ", "))}\nimage: tiny\ntasks: [{id: a, run: x}]\n"
        #expect(try problems(endless) == ["1:9 the matrix has \(Int.max) runs, more than 1000"])
    }

    @Test("whose values make a recipe wrong shows each problem once, at the place of the value it was put into")
    func wrongValues() throws {
        let found = try problems(
            """
            matrix: {memory: [1GiB, much], n: [1, 2]}
            image: tiny
            machine: {memory: "${{ matrix.memory }}", cpu: 1}
            tasks: [{id: a, run: x}]
            """)
        #expect(
            found == [
                "3:19 memory must be a size such as 512MiB or 2GiB",
                "3:43 unknown key 'cpu' in machine, did you mean 'cpus'?",
            ])
    }

    @Test("names its runs by their values, each safe for a folder, at most 64 characters, and unlike all others")
    func names() throws {
        let long = String(repeating: "x", count: 80)
        let found = try recipes(
            """
            matrix: {v: ["a/b", "a:b", "../c", "ü", \(long), \(long)y]}
            name: six
            image: tiny
            tasks: [{id: a, run: x}]
            """)
        #expect(
            try PlannedRun.all(found).map(\.name) == [
                "six-a-b", "six-a-b-2", "six-..-c", "six--", "six-" + String(repeating: "x", count: 60),
                "six-" + String(repeating: "x", count: 58) + "-2",
            ])
        #expect(
            try PlannedRun.all(Array(found.prefix(2)), times: 2).map(\.name) == [
                "six-a-b-001", "six-a-b-2-001", "six-a-b-002", "six-a-b-2-002",
            ])
    }

    @Test("that is not there keeps the name of a single run, and no run is called like the summary")
    func singleName() throws {
        var recipe = try #require(try recipes("name: a\nimage: tiny\ntasks: [{id: a, run: x}]\n").first)
        #expect(try PlannedRun.all([recipe]).map(\.name) == ["a"])
        recipe.name = "runs.json"
        #expect(try PlannedRun.all([recipe, recipe]).map(\.name) == ["runs.json-2", "runs.json-3"])
        #expect(throws: BackendError.self) { try PlannedRun.all([recipe], times: PlannedRun.most + 1) }
    }
}
