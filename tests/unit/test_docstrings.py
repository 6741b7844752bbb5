"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import celery_collectors

ROOT = Path(celery_collectors.__file__).parent
MODULES = sorted(
    "celery_collectors" + str(path.relative_to(ROOT).with_suffix("")).join(("/", "")).replace("/", ".")
    for path in ROOT.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    failed, _ = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    assert sum(len(found.examples) for module in MODULES for found in finder.find(import_module(module))) > 20
