"""What documents say of tests: each test that they name is there, and each promise has tests that name it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENTS = TESTS.parent / "docs"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
PROMISE = re.compile(r"^## (\d)\. ", re.MULTILINE)
PROMISES = range(1, 9)


def named_in(text: str) -> set[tuple[str, str]]:
    """The tests that a text names, each as file and function."""
    return set(NAMED.findall(text))


@cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    """A file's test functions by name."""
    path = TESTS / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", ["explanation/guarantees.md", "explanation/chord-behaviours.md"])
def test_every_test_that_a_document_names_is_there(name: str) -> None:
    named = named_in((DOCUMENTS / name).read_text())
    assert named
    assert {(file, test) for file, test in named if test not in functions(file)} == set()


def promised() -> dict[int, set[tuple[str, str]]]:
    """By the number of each promise, the tests that its paragraph names."""
    _, *parts = PROMISE.split((DOCUMENTS / "explanation" / "guarantees.md").read_text())
    return {int(number): named_in(text) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def marked() -> dict[int, set[tuple[str, str]]]:
    """By the number of each promise, the tests that say they prove it."""
    found: dict[int, set[tuple[str, str]]] = {number: set() for number in PROMISES}
    for path in sorted(TESTS.rglob("test_*.py")):
        file = str(path.relative_to(TESTS))
        for name, function in functions(file).items():
            for number in _numbers(function):
                found[number].add((file, name))
    return found


def _numbers(function: ast.FunctionDef) -> list[int]:
    """The arguments of its marker ``promise``."""
    calls = [one for one in function.decorator_list if isinstance(one, ast.Call)]
    return [ast.literal_eval(arg) for call in calls if ast.unparse(call.func).endswith(".promise") for arg in call.args]


@pytest.mark.parametrize("number", PROMISES)
def test_a_promises_paragraph_names_the_tests_that_name_the_promise(number: int) -> None:
    assert any(file.startswith("faults/") for file, _ in marked()[number])
    assert marked()[number] == promised()[number]
