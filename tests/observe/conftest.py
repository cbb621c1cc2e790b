"""One office with a worker, which has run a few tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.canvas import chain, group
from tests.observe.office import Office


@pytest.fixture(scope="module")
def office(temporal_address: str) -> Iterator[Office]:
    """An office whose tasks have ended: three single ones, a group of four and a chain of three."""
    found = Office(temporal_address)
    worker = found.worker()
    single = [found.add.delay(1), found.add.delay(22, y=5), found.fails.delay("<b>bread</b>", password="sesame")]
    members = group(found.add.s(1), found.add.s(2), found.fails.s("milk"), found.add.s(4)).apply_async()
    steps = chain(found.add.s(10), found.fails.s(password="sesame"), found.add.s(3)).apply_async()
    found.ended(*single, *members.results, steps)
    yield found
    worker.stop()
    found.app.close()
