"""Fixtures with the benchmark data that evaluations read."""

from pathlib import Path

import pytest

from tests import made_up


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of made-up items of all 36 tasks, laid out like the real ones. Do not change it."""
    return made_up.mirror(tmp_path_factory.mktemp("mirror"))
