"""Settings on a command line: `worker.concurrency=2`, `task_always_eager=true`, `.prefetch_multiplier=1`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

from ..exceptions import ImproperlyConfigured
from .table import CELERY_NAMES, SETTINGS

CAST = re.compile(r"\((int|float|bool|str|string|list|tuple|dict|json|any)\)")
"""Celery's way to name a value's type. Settings know their own type, so it matters for lists and mappings only."""
AS_JSON = frozenset({"list", "tuple", "dict", "json"})


def from_words(words: Iterable[str], namespace: str) -> dict[str, Any]:
    """Return the settings of `KEY=VALUE` words. A key that is no setting's name is looked up in `namespace`."""
    return dict(_read(word, namespace) for word in words)


def _read(word: str, namespace: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    key = key.lower()
    name = key.replace(".", "_").lstrip("_")
    in_namespace = f"{namespace}_{name}"
    cast = CAST.match(value)
    text = value[cast.end() :] if cast else value
    for candidate in (in_namespace, name, key):
        if equals and candidate in SETTINGS:
            given = json.loads(text) if cast and cast[1] in AS_JSON else text
            return candidate, SETTINGS[candidate].parse(given, word)
    if not equals:
        raise ImproperlyConfigured(f"{word}: a setting is written as KEY=VALUE, such as worker.concurrency=2")
    unknown = name if name.startswith(f"{namespace}_") else in_namespace
    # The name may also be one of another group, such as task_time_limit.
    near = difflib.get_close_matches(unknown, CELERY_NAMES, n=1, cutoff=0.0)
    other = difflib.get_close_matches(name, CELERY_NAMES, n=1, cutoff=0.8) or near
    raise ImproperlyConfigured(f"{word}: there is no setting {unknown}; the nearest is {other[0]}")
