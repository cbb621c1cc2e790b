"""What the gallery keeps, and the session that each request gets."""

from datetime import datetime

import zope.sqlalchemy
from sqlalchemy import ForeignKey, engine_from_config, func
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    image_name: Mapped[str]
    image: Mapped[bytes] = mapped_column(deferred=True)
    status: Mapped[str] = mapped_column(default="new")
    title: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(TEXT), default=list)
    error: Mapped[str | None]
    task_id: Mapped[str | None]
    notifications: Mapped[list["Notification"]] = relationship(back_populates="item", order_by="Notification.id")

    def __json__(self, request):
        return {
            "id": self.id,
            "owner": self.owner,
            "image_name": self.image_name,
            "status": self.status,
            "title": self.title,
            "tags": self.tags,
            "error": self.error,
            "task": self.task_id,
            "notifications": [notification.text for notification in self.notifications],
        }


class Notification(Base):
    """Stands for a mail: what the owner of an item was told."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    recipient: Mapped[str]
    text: Mapped[str]
    sent_at: Mapped[datetime] = mapped_column(server_default=func.now())
    item: Mapped[Item] = relationship(back_populates="notifications")


def includeme(config):
    engine = engine_from_config(config.get_settings(), "sqlalchemy.")
    new_session = sessionmaker(bind=engine)

    def dbsession(request):
        session = new_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.registry["engine"] = engine
    config.add_request_method(dbsession, reify=True)
