from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.current import latest_app, set_current_app
from tests.enlist.application import Site
from tests.parts import fresh_database


@pytest.fixture(scope="module")
def site_database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="module", params=["explicit", "thread-local"])
def site(request: pytest.FixtureRequest, site_database: str, temporal_address: str) -> Iterator[Site]:
    """The application, once with pyramid_tm's explicit managers, once with the thread-local manager."""
    before = latest_app()
    site = Site(site_database, temporal_address, request.param)
    try:
        yield site
    finally:
        site.close()
        set_current_app(before)
