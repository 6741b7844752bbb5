"""The engine's fixtures, and the matrix of what came of every fault."""

from __future__ import annotations

import pytest

from tests.faults.matrix import Matrix
from tests.integration.conftest import engine, pool, pytest_collection_modifyitems, setup
from tests.integration.setups import SetUp

__all__ = ["engine", "pool", "pytest_collection_modifyitems", "setup"]


@pytest.fixture
def matrix(setup: SetUp) -> Matrix:
    """The matrix's column of this test's set-up."""
    return Matrix(setup.name)
