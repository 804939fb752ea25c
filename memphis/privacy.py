"""Masking of secrets in configs, arguments and messages."""

import os
import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"token(?!s|iz)|secret|passw|api_?key|access_?key|private_?key|credential|jwt", re.IGNORECASE)
_ASSIGNED = re.compile(rf"([\w.+-]*(?:{SECRET.pattern})[\w.-]*['\"]?\s*[=:]\s*)[^\s,;&}}\])]+", re.IGNORECASE)
_URL_USER = re.compile(r"(://)[^/@\s]+@")


def masked(value: Any) -> Any:
    """Return a copy of a config, an argv or a string that can be shown to anybody.

    `***` replaces values under keys that name a secret, `k=v` and `k: v` of such names inside strings, user and
    password of URLs, and the values that this process's environment holds under such names. What JSON cannot hold
    becomes text.
    """
    if isinstance(value, Mapping):
        hidden = {key for key in value if SECRET.search(str(key)) and value[key] not in (None, "")}
        return {str(key): "***" if key in hidden else masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    for name, secret in os.environ.items():
        if len(secret) >= 8 and SECRET.search(name):
            text = text.replace(secret, "***")
    return _ASSIGNED.sub(r"\1***", _URL_USER.sub(r"\1***@", text))
