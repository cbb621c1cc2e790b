"""What the site keeps, and the session that each request and each activity gets."""

from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import ForeignKey, UniqueConstraint, engine_from_config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str | None]
    mails: Mapped[list["Mail"]] = relationship(back_populates="user", order_by="Mail.id")

    def __json__(self, request: Request) -> dict[str, Any]:
        return {"id": self.id, "email": self.email, "name": self.name, "mails": [mail.kind for mail in self.mails]}


class Mail(Base):
    """Stands for a mail server: each row is a mail that was sent."""

    __tablename__ = "mails"
    __table_args__ = (UniqueConstraint("user_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    sender: Mapped[str]
    text: Mapped[str]
    user: Mapped[User] = relationship(back_populates="mails")


def includeme(config: Configurator) -> None:
    engine = engine_from_config(config.get_settings(), "sqlalchemy.")
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:  # create_all would fail if web and worker start at the same time
            connection.execute(CreateTable(table, if_not_exists=True))
    new_session = sessionmaker(engine)

    def dbsession(request: Request) -> Session:
        session = new_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.registry["engine"] = engine
    config.add_request_method(dbsession, reify=True)
