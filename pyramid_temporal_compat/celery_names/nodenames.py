"""The names of workers: `name@host`."""

from __future__ import annotations

import functools
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

SEPARATOR = "@"
DEFAULT_NAME = "celery"

gethostname = functools.cache(socket.gethostname)


def nodename(name: str, hostname: str) -> str:
    """Return `name@hostname`."""
    return f"{name}{SEPARATOR}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return a name for a process that is not a worker, such as a web process."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[None, str] | list[str]:
    """Return the name and the host of a worker. A text without `@` is taken as the host."""
    parts = name.split(SEPARATOR, 1)
    return parts if len(parts) == 2 else (None, parts[0])


def default_nodename(hostname: str | None, default_name: str = DEFAULT_NAME) -> str:
    """Return a full worker name. A missing name becomes `default_name`, and a missing host this host."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """Return `s` with the parts of a worker's name: %h (host), %n (name), %d (domain), %p (the full name)."""
    short, host = nodesplit(name)
    return host_format(s, host, short or DEFAULT_NAME, p=name, **extra)


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """Return `s` with %h (host), %n (name), %d (domain), and %i and %I (the number of the pool process)."""
    host = host or gethostname()
    short, _, domain = host.partition(".")
    # Only the worker's main process writes logs and pid files, and its number is 0.
    return simple_format(s, {"h": host, "n": name or short, "d": domain, "i": "0", "I": "", **extra})


def simple_format(s: str, keys: Mapping[str, Any]) -> str:
    """Return `s` with each %x replaced by `keys["x"]`, or by its return value if it is a function."""

    def resolve(match: re.Match[str]) -> str:
        key = match.group(1)
        if key not in keys:
            known = ", ".join(f"%{name}" for name in sorted(keys))
            raise ValueError(f"%{key} in {s!r} is unknown; use one of {known}")
        value = keys[key]
        return str(value() if callable(value) else value)

    return re.sub(r"%(\w)", resolve, s) if s else s
