"""A row whose class is a dataclass is a row first: it does not travel. Only SQLAlchemy 2 has such classes."""

import pytest

from pyramid_temporal_compat.exceptions import NotSerializable
from pyramid_temporal_compat.payload.annotations import rebuild_value
from pyramid_temporal_compat.payload.types import dumps

pytest.importorskip("sqlalchemy", "2.0", reason="SQLAlchemy maps dataclasses since 2.0")

from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Record(Base):
    __tablename__ = "records"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_a_row_is_refused_with_its_primary_key_as_advice() -> None:
    with pytest.raises(NotSerializable, match=r"pass its primary key: record\.id"):
        dumps(Record(id=1))


def test_a_value_does_not_become_a_row() -> None:
    assert rebuild_value(Record, 1) == 1
