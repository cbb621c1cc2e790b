"""Pages wait longer for the server than in production: the machine that runs the tests may be busy."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.board import sources


@pytest.fixture(autouse=True)
def patient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 60.0)
