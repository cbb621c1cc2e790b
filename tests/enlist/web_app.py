"""A small Pyramid application for real web servers: orders in a database, and a task for each.

`module:application` has no ini, so the environment configures it: DATABASE, IMPORT_CALL, and Temporal's variables.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from sqlalchemy import Column, Integer, create_engine, func, select
from sqlalchemy.orm import declarative_base, sessionmaker

from pyramid_temporal_compat import current_app, shared_task

logging.basicConfig(format="%(levelname)s %(message)s")


Base: Any = declarative_base()  # as SQLAlchemy 1.4 has it too


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)


@shared_task(name="buy")
def buy(number: int) -> int:
    return number


def home(request: Any) -> dict[str, Any]:
    return {"orders": request.dbsession.scalar(select(func.count()).select_from(Order))}


def order(request: Any) -> dict[str, Any]:
    new = Order()
    request.dbsession.add(new)
    request.dbsession.flush()
    return {"task": buy.delay(new.id).id, "pid": os.getpid()}


def make(**settings: str) -> Any:
    engine = create_engine(os.environ["DATABASE"])
    Base.metadata.create_all(engine)
    make_session = sessionmaker(engine)

    def dbsession(request: Any) -> Any:
        session = make_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    with Configurator(settings=settings) as config:
        config.include("pyramid_tm")
        config.include("pyramid_temporal_compat")
        config.add_request_method(dbsession, reify=True)
        for name, view, method in (("home", home, "GET"), ("order", order, "POST")):
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, request_method=method, renderer="json")
        app = config.make_wsgi_app()
    current_app().conf["task_default_queue"] = "web"
    if "IMPORT_CALL" in os.environ:
        print("called at import:", buy.delay(0).id, os.getpid(), flush=True)
    return app


application = make(**{"ptemporal.dispatch_timeout": os.environ.get("DISPATCH_TIMEOUT", "10")})
