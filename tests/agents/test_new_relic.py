"""New Relic's instrumentation of Celery, in its developer mode: what it would send is in its audit log."""

from __future__ import annotations

import re
from typing import Any

from tests.agents.conftest import Shopping, needs

needs("newrelic")

AGENT = "New Relic"


def test_look(shopping: Shopping) -> None:
    print((shopping.home / "audit.log").read_text()[:20000])
    print((shopping.home / "worker.log").read_text()[:5000])
    assert 0
