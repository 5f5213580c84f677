"""Nothing grows too big to hold in the head, or in the repository. Called by pre-commit.

``python tools/check_sizes.py [FILE ...]``; without files, all that git tracks. Prints one line
for each breach and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracked_files import tracked

MOST_KIB = 512
MOST_CODE_LINES, MOST_TEST_LINES = 400, 600
# CONTRIBUTING asks for less (23 and 4); these are where a reviewer would say no.
MOST_FUNCTION_LINES = 50
MOST_POSITIONAL = 5
Function = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def complaints(path: Path) -> Iterator[str]:
    """What is too big about a file: bytes for any, lines and parameters for our Python."""
    if not path.is_file():
        return
    kib = path.stat().st_size // 1024
    if kib > MOST_KIB:
        yield f"{path}: {kib} KiB; at most {MOST_KIB} belong into the repository."
    if path.suffix == ".py":
        source = path.read_text(encoding="utf-8")
        most = MOST_TEST_LINES if path.parts[0] == "tests" else MOST_CODE_LINES
        yield from (f"{path}:{line}: {what}" for line, what in _python(source, most))


def _python(source: str, most_lines: int) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source)
    code = code_lines(source, tree)
    if len(code) > most_lines:
        yield 1, f"{len(code)} lines of code; at most {most_lines}: split the module."
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield from _function(node, code)


def _function(node: Function, code: set[int]) -> Iterator[tuple[int, str]]:
    first, last = node.lineno, node.end_lineno or node.lineno
    length = len(code & set(range(first, last + 1)))
    if length > MOST_FUNCTION_LINES:
        yield first, f"{node.name} has {length} lines; at most {MOST_FUNCTION_LINES}."
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    given = [name for name in names if name not in ("self", "cls")]
    if len(given) > MOST_POSITIONAL:
        yield first, f"{node.name} takes {len(given)} by position; at most {MOST_POSITIONAL}."


def code_lines(source: str, tree: ast.AST) -> set[int]:
    """Numbers of the lines that are neither blank, comment nor docstring."""
    written = {
        number
        for number, line in enumerate(source.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            written -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return written


def main(names: Sequence[str]) -> int:
    """Check these files, or all."""
    found = [what for path in ([*map(Path, names)] or tracked()) for what in complaints(path)]
    print("\n".join(found), end="\n" if found else "")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
