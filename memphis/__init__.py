"""Memphis-CoT re-implemented: a language model teaches itself to reason from human data."""

__version__ = "0.2.0"
