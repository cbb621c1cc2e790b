"""The page of the outbox, on an outbox in SQLite. It asks no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import zope.sqlalchemy
from sqlalchemy.orm import scoped_session, sessionmaker

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.outbox.store import Store
from pyramid_temporal_compat.outbox.tables import outbox
from tests.board.site import HeaderPolicy, browser, site

DBSession = scoped_session(sessionmaker())
zope.sqlalchemy.register(DBSession)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sqlalchemy.engine.Engine]:
    """The database of an outbox with two parked rows."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'outbox.db'}")
    DBSession.configure(bind=engine)
    Store(engine, "default").create()
    now = sqlalchemy.func.current_timestamp()
    with engine.begin() as connection:
        for messages in (1, 2):
            values = {"namespace": "default", "queue": "<b>", "messages": messages, "units": b"", "version": 1}
            times = {"created": now, "due": now, "parked": now}
            connection.execute(
                outbox.insert().values(attempts=1, error="<script>too large</script>", **values, **times)
            )
    yield engine
    DBSession.remove()
    engine.dispose()


def test_parked_rows_are_shown_and_tried_again(engine: sqlalchemy.engine.Engine) -> None:
    with Celery("rows", set_as_current=False) as app:
        app.conf.update(ptemporal_outbox="tests.board.test_outbox_page:DBSession")
        chief = browser(site(app, policy=HeaderPolicy()), "chief")
        page = chief.get("/ptemporal/outbox")
        assert "2 rows" in page.html.find("dl").get_text()
        assert page.text.count("&lt;script&gt;too large") == 2
        one = next(form for form in page.forms.values() if "row" in form.fields)
        assert "tried again: 1." in one.submit().follow().html.find(role="status").text
        everything = next(form for form in page.forms.values() if "row" not in form.fields)
        assert "tried again: 1." in everything.submit().follow().html.find(role="status").text
        one["row"].force_value("1 OR 1=1")
        one.submit(status=400)
