"""Fixtures that every room may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder with sample data and reference pages; tests that need it are skipped without it."""
    path = Path(os.environ.get("MEMPHIS_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"shared data not found at {path}; set MEMPHIS_SHARED")
    return path
