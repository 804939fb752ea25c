"""The benchmarks' data that evaluations read."""

from pathlib import Path

import pytest

from tests import made_up


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up items of all 36 tasks, laid out as the real ones are. Not to be changed."""
    return made_up.mirror(tmp_path_factory.mktemp("mirror"))
