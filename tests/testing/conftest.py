"""The plugin's fixtures, on the server that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import current


@pytest.fixture(scope="session")
def ptemporal_server(temporal_server: Any) -> Any:
    return temporal_server


@pytest.fixture(autouse=True)
def no_current_app() -> Iterator[None]:
    before = current.save_current()
    current.restore_current((None, None))
    yield
    current.restore_current(before)
