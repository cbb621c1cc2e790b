"""MySQL's `max_allowed_packet`: a larger statement is not refused, but the connection is cut while it is sent.

It would be taken for a database that went away, and tried again for ever. So the size is asked for before.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from ..exceptions import PayloadTooLarge

SMALL = 256 * 1024
"""Bytes that any server takes: its limit is not asked for."""
BESIDE = 8 * 1024
"""Bytes of the statement beside what it carries."""
ESCAPED = (b"'", b'"', b"\\", b"\0", b"\n", b"\r", b"\x1a")


def check_size(connection: Any, data: bytes, what: str) -> None:
    """Raise `PayloadTooLarge` for what is more than a statement may carry."""
    if len(data) <= SMALL or connection.dialect.name not in ("mysql", "mariadb"):
        return
    size = BESIDE + _as_sent(connection.dialect.driver, data)
    limit = int(connection.scalar(text("SELECT @@max_allowed_packet")))
    if size > limit:
        raise PayloadTooLarge(
            f"{what} takes {len(data):,} bytes, {size:,} as the driver {connection.dialect.driver} sends it, and the "
            f"database's max_allowed_packet is {limit:,}: raise that, or store the data and pass its key"
        )


def _as_sent(driver: str, data: bytes) -> int:
    if driver == "mariadbconnector":
        return len(data)
    if driver == "pymysql":  # as hexadecimal digits
        return 2 * len(data)
    return len(data) + sum(data.count(byte) for byte in ESCAPED)
