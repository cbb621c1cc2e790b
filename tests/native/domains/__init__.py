"""A Pyramid application of two domains, and one domain that can't be imported."""

from __future__ import annotations

from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker


def main(global_config: Any, **settings: Any) -> Any:
    """Make the application, as an ini file does."""
    with Configurator(settings=settings) as config:
        engine = create_engine("sqlite://")
        new_session = sessionmaker(bind=engine)

        def dbsession(request: Any) -> Any:
            session = new_session()
            zope.sqlalchemy.register(session, transaction_manager=request.tm)
            return session

        config.add_request_method(dbsession, reify=True)
        config.add_request_method(lambda request: "EUR", "currency", reify=True)
        return config.make_wsgi_app()
