"""The embedded server's state file: without indexes that nobody reads, and without free space that stays for ever.

The server makes an index for each column that a list filter may name, also for the columns of search attributes that no
one has defined. Each workflow is written to all of them three times. An index only makes a filter faster, so no filter
needs it: `migration_guide/server.md` has the figures.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

LIST_TABLE = "executions_visibility"
"""The table in which the server looks for the workflows of a list."""
READ_INDEXES = frozenset(
    {
        "default_idx",
        "by_execution_time",
        "by_parent_workflow_id",
        "by_status",
        "by_task_queue",
        "by_temporal_namespace_division",
        "by_temporal_scheduled_by_id",
        "by_workflow_id",
        "by_workflow_type",
    }
)
"""Indexes of the table that the web UI, the commands and this package's own lists read."""
WAIT = 5.0
"""Seconds to wait while the server writes."""
LARGE = 32 * 1024 * 1024
"""Bytes of free space in the file that are worth the time that it takes to write the file anew."""


def drop_unread_indexes(database: Path) -> None:
    """Drop the indexes that nobody reads. Leave all of them if this Python's SQLite can't read the server's tables.

    The server may run: SQLite tells it of the change.
    """
    with contextlib.suppress(sqlite3.Error), _opened(database) as connection:
        # A unique index would be more than a means of being fast, so only plain indexes are dropped.
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql LIKE 'CREATE INDEX %'",
            (LIST_TABLE,),
        ).fetchall()
        unread = sorted({str(name) for (name,) in names} - READ_INDEXES)
        if unread:
            connection.executescript("; ".join(["BEGIN", *(f'DROP INDEX "{name}"' for name in unread), "COMMIT"]))


def shrink(database: Path) -> int:
    """Write the file anew if most of it is free space. Return how many bytes smaller it is. No server may run.

    SQLite uses free space again, but never gives it back by itself.
    """
    with contextlib.suppress(sqlite3.Error), _opened(database) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        if free * size >= LARGE and free * 2 > pages:
            connection.execute("VACUUM")
            return free * size
    return 0


def _opened(database: Path) -> contextlib.closing[sqlite3.Connection]:
    """Return a connection to the file, which exists, outside of any transaction."""
    uri = f"{database.as_uri()}?mode=rw"
    return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None))
