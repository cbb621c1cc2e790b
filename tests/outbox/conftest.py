from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.outbox import mariadb
from tests.outbox.parts import OutboxSite, outbox_site
from tests.parts import fresh_database


@pytest.fixture(scope="session")
def mysql() -> Iterator[str]:
    """The SQLAlchemy URL of a database, for making further databases on its server."""
    given = os.environ.get(mariadb.GIVEN)
    with contextlib.nullcontext(given) if given else mariadb.served() as url:
        yield url


@pytest.fixture
def mysql_database(mysql: str) -> Iterator[str]:
    with mariadb.fresh_mysql_database(mysql) as url:
        yield url


DATABASES = ["postgresql", "mysql"] if mariadb.is_there() else ["postgresql"]


@contextlib.contextmanager
def fresh(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a new database, of the kind that the fixture's parameter names."""
    is_mysql = request.param == "mysql"
    make, server = (mariadb.fresh_mysql_database, "mysql") if is_mysql else (fresh_database, "postgres")
    with make(request.getfixturevalue(server)) as url:
        yield url


@pytest.fixture(scope="session", params=DATABASES)
def outbox_database(request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh(request) as url:
        yield url


@pytest.fixture(scope="module", params=DATABASES)
def processes_database(request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh(request) as url:
        yield url


@pytest.fixture
def on_postgresql(outbox_database: str) -> None:
    if not outbox_database.startswith("postgresql"):
        pytest.skip("this test is about PostgreSQL alone")


@pytest.fixture(scope="module")
def shared_site(outbox_database: str, temporal_address: str) -> Iterator[OutboxSite]:
    with outbox_site(outbox_database, temporal_address) as site:
        yield site


@pytest.fixture
def site(shared_site: OutboxSite) -> OutboxSite:
    """Yield an application with an outbox. Its table is empty, and no relay runs."""
    return shared_site.as_new()
