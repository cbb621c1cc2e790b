"""The metadata of Celery's packages for `importlib.metadata`. Agents ask it for Celery's version."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from ..celery_names import version


class CeleryDistribution(importlib.metadata.Distribution):
    """The metadata of `celery`, `kombu` or `billiard`: a name and a version, and no files."""

    def __init__(self, name: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version.RELEASES[name]}\n"

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(f"{path}: pyramid_temporal_compat makes this package's modules when they are imported")
