"""Stamps: headers that are put on the tasks of a canvas, by name or by a visitor that goes through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

STAMPED = "stamped_headers"
"""The option that lists which of the other options are stamps."""


class StampingVisitor(ABC):
    """Is shown each part of a canvas, and says what to stamp it with."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for a group and its members."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027  # to be overridden, or not
        """The group's members have been stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for a chain and its steps."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027  # as above
        """The chain's steps have been stamped."""

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for one task."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Stamps for a chord's header: those of a group, if nothing else is said."""
        return self.on_group_start(sig.header_group(), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """The header's members have been stamped."""
        self.on_group_end(sig.header_group(), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Stamps for a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Stamps for what is linked to a task."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Stamps for what is linked to a task's failure."""
        return {}


def merged_stamps(
    headers: Mapping[str, Any], from_visitor: Mapping[str, Any] | None, own: Mapping[str, Any] | None, append: bool
) -> dict[str, Any]:
    """The stamps that come from above, those of the visitor, and those in a signature's own options.

    :param append: a stamp that is there twice becomes a list of both; else the one from above stands.
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
