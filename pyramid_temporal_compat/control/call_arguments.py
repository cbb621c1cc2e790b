"""The arguments and replies of control calls: checked, and in the shape that workers or callers expect."""

from __future__ import annotations

import fnmatch
import re
import signal as signals
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..exceptions import DuplicateNodenameWarning

TIMEOUT = 1.0
"""Seconds that workers have to answer, where the caller sets no timeout. Celery's default."""
NO_TIMEOUT = 10.0
"""Seconds that `timeout=None` stands for. Even such a call must end, because workers may have died."""
MATCHERS: dict[str | None, Callable[[str, str], object]] = {
    None: fnmatch.fnmatch,
    "glob": fnmatch.fnmatch,
    "pcre": lambda name, pattern: re.match(pattern, name),
}


def matching(
    destination: str | Sequence[str] | None, pattern: str | None, matcher: str | None
) -> Callable[[str], bool]:
    """Return a function that says whether a call is for the node with this name."""
    if matcher not in MATCHERS:
        known = ", ".join(sorted(name for name in MATCHERS if name))
        raise ValueError(f"there is no matcher {matcher!r}; there are {known}")
    if destination is not None:
        if not isinstance(destination, (str, list, tuple, set, frozenset)):
            raise ValueError(f"destination={destination!r}; it takes a list of node names, such as ['w1@host']")
        chosen = {destination} if isinstance(destination, str) else set(destination)
        return lambda node: node in chosen
    if pattern is not None:
        match = MATCHERS[matcher]
        return lambda node: bool(match(node, pattern))
    return lambda node: True


def seconds(timeout: float | None) -> float:
    """Return the timeout in seconds; raise `ValueError` for one that is not above 0."""
    if timeout is None:
        return NO_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout={timeout!r}; it takes a number of seconds above 0, or None")
    return timeout


def signal_name(signal: str | int | None) -> str:
    """Return the full name of a signal, given as `"SIGKILL"`, `"kill"` or 9. None means SIGTERM."""
    if signal is None:
        return signals.SIGTERM.name
    try:
        if not isinstance(signal, str):
            return signals.Signals(signal).name
        name = signal.upper()
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].name
    except (KeyError, ValueError):
        raise ValueError(f"there is no signal {signal!r} on this machine; give a name such as 'SIGKILL'") from None


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return replies as one dict by node name, and warn if more than one worker answered under the same name."""
    nodes: dict[str, Any] = {}
    twice = set()
    for item in reply:
        twice |= nodes.keys() & item.keys()
        nodes.update(item)
    if twice:
        warnings.warn(
            DuplicateNodenameWarning(
                f"more than one worker answered as {', '.join(sorted(twice))}; give each a node name of its own (-n)"
            ),
            stacklevel=2,
        )
    return nodes
