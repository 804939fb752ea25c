"""Access to nested dictionaries by dotted keys."""

from typing import Any


def lookup(plain: dict[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None if a part of it is absent."""
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries to one with dotted keys."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
