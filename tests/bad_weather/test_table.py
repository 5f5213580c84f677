"""Every row of the table has a test, and every test of this folder a row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from cases import BY_NAME, CASES

HERE = Path(__file__).parent


def _tests() -> Iterator[tuple[str, list[str]]]:
    """Each test of the folder but these, and the rows it names."""
    for file in sorted(HERE.glob("test_*.py")):
        if file == Path(__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                yield f"{file.name}::{node.name}", list(_rows(node))


def _rows(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "covers":
            yield ast.literal_eval(decorator.args[0])


def test_each_test_names_one_row() -> None:
    assert [(test, rows) for test, rows in _tests() if len(rows) != 1] == []


def test_each_row_has_a_test() -> None:
    named = {name for _, rows in _tests() for name in rows}
    assert named == set(BY_NAME)
    assert len(BY_NAME) == len(CASES)


def test_each_row_says_everything() -> None:
    for case in CASES:
        assert all((case.cause, case.sentence, case.recovers)), case.name
