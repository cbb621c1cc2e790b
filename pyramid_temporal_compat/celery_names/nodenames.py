"""Names of workers: `name@host`."""

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
    return f"{name}{SEPARATOR}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """The name of a process that is no worker, such as a web process."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[None, str] | list[str]:
    """Name and host of a worker; a name without a host is taken for the host."""
    parts = name.split(SEPARATOR, 1)
    return parts if len(parts) == 2 else (None, parts[0])


def default_nodename(hostname: str | None, default_name: str = DEFAULT_NAME) -> str:
    """A full name, of whichever part is given."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """`s`, with the parts of the worker's name filled in: %h, %n, %d, and %p for all of it."""
    short, host = nodesplit(name)
    return host_format(s, host, short or DEFAULT_NAME, p=name, **extra)


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """`s`, with %h (host), %n (name), %d (domain), %i and %I (the pool process's number) filled in."""
    host = host or gethostname()
    short, _, domain = host.partition(".")
    # Logs and pid files are those of the worker's main process, whose number is 0.
    return simple_format(s, {"h": host, "n": name or short, "d": domain, "i": "0", "I": "", **extra})


def simple_format(s: str, keys: Mapping[str, Any]) -> str:
    """`s`, with each %x in it replaced by what `keys` has for x, or by what that returns."""

    def resolve(match: re.Match[str]) -> str:
        key = match.group(1)
        if key not in keys:
            known = ", ".join(f"%{name}" for name in sorted(keys))
            raise ValueError(f"%{key} in {s!r} stands for nothing; there are {known}")
        value = keys[key]
        return str(value() if callable(value) else value)

    return re.sub(r"%(\w)", resolve, s) if s else s
