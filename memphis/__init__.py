"""Memphis-CoT re-implemented: a language model teaches itself to reason from human data."""

from pathlib import Path

__version__ = "0.2.0"

REPOSITORY = Path(__file__).resolve().parents[1]
