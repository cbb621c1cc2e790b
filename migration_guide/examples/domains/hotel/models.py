"""The hotel's tables, and the session that each request gets."""

from __future__ import annotations

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import engine_from_config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    pass


class Booking(Base):
    __tablename__ = "bookings"

    id: Mapped[int] = mapped_column(primary_key=True)
    guest: Mapped[str]
    room: Mapped[int]
    nights: Mapped[int]
    status: Mapped[str] = mapped_column(default="new")


class Payment(Base):
    __tablename__ = "payments"

    reference: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]
    currency: Mapped[str]


class Mail(Base):
    """Stands for a mail: what a guest was told."""

    __tablename__ = "mails"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[str]
    text: Mapped[str]


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
