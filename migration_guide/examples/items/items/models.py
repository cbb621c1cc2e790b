"""What the gallery keeps, and the session that each request and each activity gets."""

from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import ForeignKey, engine_from_config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    status: Mapped[str] = mapped_column(default="new")
    images: Mapped[list["Image"]] = relationship(back_populates="item", order_by="Image.id")
    notifications: Mapped[list["Notification"]] = relationship(order_by="Notification.id")

    def __json__(self, request: Request) -> dict[str, Any]:
        return {
            "id": self.id,
            "owner": self.owner,
            "status": self.status,
            "images": self.images,
            "notifications": [notification.text for notification in self.notifications],
        }


class Image(Base):
    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    name: Mapped[str]
    data: Mapped[bytes] = mapped_column(deferred=True)
    status: Mapped[str] = mapped_column(default="new")
    suggestion: Mapped[str | None]
    error: Mapped[str | None]
    item: Mapped[Item] = relationship(back_populates="images")

    def __json__(self, request: Request) -> dict[str, Any]:
        return {"name": self.name, "status": self.status, "suggestion": self.suggestion, "error": self.error}


class Notification(Base):
    """Stands for a mail: what the owner of an item was told."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    text: Mapped[str]


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
