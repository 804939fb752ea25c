"""Speed of memphis beside what one would take instead: same model, rows, hardware; the peers live here only."""
