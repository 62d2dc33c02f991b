"""Count what makes the code easy or hard to understand: ``python benchmarks/house.py``.

Files, import cycles (imports for type checking count), modules that only one other module
imports, import lines, function lengths, and tests that need a napari window.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median, quantiles

import grimp
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_resunet"
PACKAGE = "napari_resunet"
VIEWER = "make_napari_viewer"
SHORT = 100
LONG = 50
"""Lines of a module, and of a function."""


def main() -> None:
    """Print one row for each count."""
    files = sorted(SOURCE.rglob("*.py"))
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    functions = [size for path in files for size in function_lengths(path)]
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False)
    single = single_importers(graph, lengths)
    windows, tests = tests_with_a_window()
    rows = {
        "files in src": len(files),
        "files flat in plugin": len(list((SOURCE / "plugin").glob("[!_]*.py"))),
        "files in import cycles": sum(map(len, cycles(graph))),
        f"modules with one importer, under {SHORT} lines": len(single),
        "lines in src": sum(lengths.values()),
        "import lines": sum(map(import_lines, files)),
        "functions: median, 90th percentile, longest": (
            f"{median(functions):.0f}, {quantiles(functions, n=10)[-1]:.0f}, "
            f"{max(functions)}"
        ),
        f"functions over {LONG} lines": sum(size > LONG for size in functions),
        "longest file": max(lengths.values()),
        "tests that need a napari window": f"{windows} of {tests}",
    }
    for name, value in rows.items():
        print(f"{name:<48}{value:>16}")
    for cycle in cycles(graph):
        print("cycle:", ", ".join(sorted(cycle)))
    for module in sorted(single):
        print("one importer:", module)


def function_lengths(path: Path) -> list[int]:
    """Count the lines of each function's body, without its docstring."""
    lengths = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lengths.append(body[-1].end_lineno - body[0].lineno + 1 if body else 0)
    return lengths


def import_lines(path: Path) -> int:
    """Count the lines that import statements take."""
    return sum(
        node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )


def cycles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Find the groups of modules that import each other in a ring."""
    modules = sorted(graph.modules)
    number = {module: i for i, module in enumerate(modules)}
    matrix = np.zeros((len(modules), len(modules)), bool)
    for module in modules:
        for imported in graph.find_modules_directly_imported_by(module):
            matrix[number[module], number[imported]] = True
    _, group = connected_components(matrix, connection="strong")
    by_group = zip(modules, group.tolist(), strict=True)
    members: dict[int, list[str]] = defaultdict(list)
    for module, number_of_group in by_group:
        members[number_of_group].append(module)
    return [ring for ring in members.values() if len(ring) > 1]


def single_importers(graph: grimp.ImportGraph, lengths: dict[Path, int]) -> list[str]:
    """List the short modules that exactly one other module imports."""
    found = []
    for path, length in lengths.items():
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        importers = graph.find_modules_that_directly_import(module)
        if path.name != "__init__.py" and length < SHORT and len(importers) == 1:
            found.append(f"{module} <- {next(iter(importers))}")
    return found


class _Collected:
    """Takes the tests that pytest finds."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def tests_with_a_window() -> tuple[int, int]:
    """Count the tests that ask for a viewer, through other fixtures too, and all tests."""
    collected, said = _Collected(), StringIO()
    with redirect_stdout(said):
        options = ["--collect-only", "-q", "-p", "no:xvfb", str(ROOT / "tests")]
        code = pytest.main(options, [collected])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"Not all tests were found:\n{said.getvalue()}")
    windows = [i for i in collected.items if VIEWER in getattr(i, "fixturenames", ())]
    return len(windows), len(collected.items)


if __name__ == "__main__":
    main()
