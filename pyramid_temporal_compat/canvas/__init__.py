"""Canvas: chains, groups and chords of calls. One workflow runs a whole canvas."""

from __future__ import annotations

from .chain import _chain, chain
from .chord import _chord, chord
from .group import group
from .maps import chunks, xmap, xstarmap
from .signature import Signature, maybe_signature, maybe_subtask, signature, subtask
from .stamps import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
