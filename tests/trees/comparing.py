"""Compare both systems. Each ignored difference is a flaw or a random choice of Celery; a comment says why."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .specs import Spec

A_TASK = re.compile(r"#\d+|\b\d+\.\d+\b")


def differences(spec: Spec, celery: Any, ours: Any) -> str:
    """Return a diff of one tree's outcome on both sides; empty if both are the same."""
    celery, ours = (_told(spec, side) for side in (celery, ours))
    if "refused" in celery or "refused" in ours:
        return "" if celery == ours else f"Celery: {celery}, ours: {ours}"
    # In Celery, a chord around a failed chord is never told. Here it fails, too, and its errbacks run.
    waiting = set(_pending(celery.get("results")))
    for n in _errbacks(spec) & ours.get("runs", {}).keys():
        known = celery["runs"].get(n, [])
        heard = [run for run in ours["runs"][n] if run in known or not waiting & {_told_of(run)}]
        ours["runs"][n] = heard
        if not heard and n not in celery["runs"]:
            del ours["runs"][n]
    overtaken = any(node.get("state") == "RETRY" for node in _nodes(celery.get("results")))
    ours = _Adopting(spec, overtaken).adopted(celery, ours)
    sides = [json.dumps(side, indent=1, sort_keys=True).splitlines() for side in (celery, ours)]
    return "\n".join(difflib.unified_diff(*sides, "Celery", "ours", n=3, lineterm=""))


def _told(spec: Spec, side: Any) -> Any:
    side = json.loads(json.dumps(side))
    side.pop("order", None)
    errbacks = _errbacks(spec)
    for n, runs in side.get("runs", {}).items():
        for run in runs:
            # In Celery, the run that asks for a retry becomes the retry's parent, if there was no parent.
            if run.get("parent") == n:
                run["parent"] = None
            if n in errbacks:
                # Celery sends errbacks that take an id as a group, even a single one. The errbacks of a task that never
                # ran, such as a chord's body, begin a new tree there.
                run.pop("in a group", None)
                run.pop("root", None)
        runs.sort(key=lambda run: (run.get("retries", 0), json.dumps(run)))
    return side


def _pending(result: Any) -> Iterator[str]:
    for node in _nodes(result):
        if node.get("state") == "PENDING":
            yield node["task"]


def _nodes(result: Any) -> Iterator[Any]:
    while result is not None:
        yield result
        for member in result.get("members", ()):
            yield from _nodes(member)
        result = result["parent"]


def _told_of(run: Any) -> str | None:
    heard = run["with"]
    return heard["id"] if isinstance(heard, dict) else run["parent"]


def _errbacks(spec: Spec) -> set[str]:
    return {errback["n"] for part in parts(spec) for errback in part.get("errbacks", ())}


def out_of_order(spec: Spec, order: Sequence[str]) -> list[str]:
    """Return each step or chord's body that began before the part in front of it had ended. `order` lists the runs."""
    wrong = []
    for part in parts(spec, linked=False):  # links are left out: a link of several tasks runs several times
        steps = part.get("chain") or ([{"group": part["chord"]}, part["body"]] if "chord" in part else [])
        for first, second in itertools.pairwise(steps):
            before, after = (positions(step, order) for step in (first, second))
            if before and after and max(before) > min(after):
                wrong.append(f"{second} began before {first} had ended: {order}")
    return wrong


def positions(spec: Spec, order: Sequence[str]) -> list[int]:
    """Return the positions of the spec's own runs, without its links."""
    own = {leaf["n"] for leaf in parts(spec, linked=False) if "n" in leaf}
    return [position for position, n in enumerate(order) if n in own]


def parts(spec: Spec, linked: bool = True) -> Iterator[Spec]:
    """Yield the spec and all specs in it."""
    yield spec
    for key in ("chain", "group", "chord", *(("links", "errbacks") if linked else ())):
        for part in spec.get(key, ()):
            yield from parts(part, linked)
    for key in ("body", "into"):
        if key in spec:
            yield from parts(spec[key], linked)


class _Adopting:
    """Replace our value with Celery's where a difference is allowed."""

    def __init__(self, spec: Spec, overtaken: bool) -> None:
        """:param overtaken: whether Celery shows RETRY in place of a result."""
        self._overtaken = overtaken
        together = [part.get("group") or part.get("chord") or () for part in parts(spec)]
        self._together = [
            {leaf["n"] for member in members for leaf in parts(member) if "n" in leaf} for members in together
        ]

    def adopted(self, celery: Any, ours: Any, key: str = "") -> Any:
        if isinstance(celery, str) and isinstance(ours, str):
            return celery if self._same(celery, ours, key) else ours
        if isinstance(celery, list) and isinstance(ours, list) and len(celery) == len(ours):
            return [self.adopted(*pair, key) for pair in zip(celery, ours, strict=True)]
        if isinstance(celery, dict) and isinstance(ours, dict):
            return self._adopted_parts(celery, ours)
        return ours

    def _adopted_parts(self, celery: Mapping[str, Any], ours: dict[str, Any]) -> Any:
        if str(celery.get("task")).startswith("#"):
            ours = {**ours, "children": celery["children"]}  # Celery: another task's children
        if celery.get("state") == "RETRY" and ours.get("state") == "SUCCESS":
            # Celery writes RETRY after it has sent the retry: on a busy machine, after the retry's SUCCESS.
            ours = {**ours, "state": "RETRY", "value": None, "children": celery["children"]}
        if celery.get("state") == "PENDING" and ours.get("state") in ("FAILURE", "REVOKED"):
            # Celery leaves tasks that will never run PENDING, except the next steps of a chain. Here they have failed.
            ours = {**ours, "state": "PENDING", "value": None}
        return {key: self.adopted(celery[key], value, key) if key in celery else value for key, value in ours.items()}

    def _same(self, celery: str, ours: str, key: str) -> bool:
        if celery == "not there":
            # As above: Celery waits for ever, and here the result is an error.
            return key == "gives" and (": " in ours or self._overtaken)
        if key not in ("gives", "value", "error", "id", "parent", "root"):
            return False
        # Celery's words for a member that is a chain, if the header also contains chords.
        ours = re.sub(r"Dependency \S+ raised", "Join error:", ours) if "Join error: " in celery else ours
        # Of several members that fail, Celery names the first in time. Of the members before a chord's body, it names
        # the last in time.
        if A_TASK.sub("", celery) != A_TASK.sub("", ours):
            ends = [A_TASK.findall(text)[-1:] for text in (celery, ours)]
            return key == "gives" and ends[0] != ends[1] and all(map(self._beside, *ends))
        return all(map(self._beside, A_TASK.findall(celery), A_TASK.findall(ours)))

    def _beside(self, one: str, other: str) -> bool:
        if one == other or (one.startswith("#") and other.startswith("#")):
            return True
        if "#" in one + other:  # a task that never ran
            return any(found in one + other for members in self._together for found in members)
        return any({one, other} <= members for members in self._together)
