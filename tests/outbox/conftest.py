from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.app.current import latest_app, set_current_app
from tests.outbox.parts import OutboxSite
from tests.parts import fresh_database


@pytest.fixture(scope="session")
def outbox_database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def shared_site(outbox_database: str, temporal_address: str) -> Iterator[OutboxSite]:
    before = latest_app()
    site = OutboxSite(outbox_database, temporal_address)
    try:
        yield site
    finally:
        site.close()
        set_current_app(before)


@pytest.fixture
def site(shared_site: OutboxSite) -> OutboxSite:
    """An application with an outbox, whose table is empty, and no relay."""
    shared_site.app.set_current()
    shared_site.clear()
    return shared_site
