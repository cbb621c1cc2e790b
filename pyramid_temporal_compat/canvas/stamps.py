"""Stamps: headers on the tasks of a canvas, given by name or by a visitor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

STAMPED = "stamped_headers"
"""The option that lists the names of the options that are stamps."""


class StampingVisitor(ABC):
    """Visits each part of a canvas, and returns the stamps for it."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps for a group and its members."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027  # a subclass may override it
        """Do nothing. Called when all members of a group have their stamps."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps for a chain and its steps."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027  # as above
        """Do nothing. Called when all steps of a chain have their stamps."""

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps for one task."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps for a chord's header: by default, the stamps for a group."""
        return self.on_group_start(sig.header_group(), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called when all members of a header have their stamps: by default, `on_group_end`."""
        self.on_group_end(sig.header_group(), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps for a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps for a callback of a task."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps for an error callback of a task."""
        return {}


def merged_stamps(
    headers: Mapping[str, Any], from_visitor: Mapping[str, Any] | None, own: Mapping[str, Any] | None, append: bool
) -> dict[str, Any]:
    """Return the stamps of a signature, merged from three sources.

    :param headers: the stamps of the canvas around it.
    :param from_visitor: the stamps that the visitor returned.
    :param own: the stamps in the signature's own options.
    :param append: a stamp with two values becomes a list of both. Otherwise the value in `headers` wins.
    """
    merged = dict(headers)
    merged.setdefault(STAMPED, list(headers))
    if from_visitor is not None:
        found = dict(from_visitor)
        found.setdefault(STAMPED, list(found))
        _merge(merged, found, append)
    if own is not None:
        names = {*merged[STAMPED], *own.get(STAMPED, ())}
        merged[STAMPED] = [*merged[STAMPED], *(own.get(STAMPED) or ())]
        _merge(merged, {key: value for key, value in own.items() if key in names}, append)
    merged[STAMPED] = list(dict.fromkeys(merged[STAMPED]))
    return merged


def _merge(into: dict[str, Any], other: Mapping[str, Any], append: bool) -> None:
    for key, theirs in other.items():
        if key not in into:
            into[key] = theirs
            continue
        ours = into[key]
        if isinstance(ours, dict):
            into[key] = dict(ours)
            _merge(into[key], theirs, append)
            continue
        if append and isinstance(ours, (int, float, str)):
            ours = [ours]
        if isinstance(ours, list) and isinstance(theirs, list):
            into[key] = ours + theirs
        elif append:
            into[key] = [*(ours or ()), theirs]
