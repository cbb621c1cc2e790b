"""What stays after a session has ended, and the database session of each request."""

from __future__ import annotations

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import engine_from_config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    pass


class SessionLog(Base):
    __tablename__ = "session_logs"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    status: Mapped[str] = mapped_column(default="open")
    message_count: Mapped[int] = mapped_column(default=0)


def includeme(config: Configurator) -> None:
    engine = engine_from_config(config.get_settings(), "sqlalchemy.")
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:  # create_all would fail if web and worker start at the same time
            connection.execute(CreateTable(table, if_not_exists=True))
    new_session = sessionmaker(bind=engine)

    def dbsession(request: Request) -> Session:
        session = new_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.registry["engine"] = engine
    config.add_request_method(dbsession, reify=True)
