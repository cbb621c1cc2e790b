"""A side: one of the two systems that run trees. Describe the outcome of a tree in the same terms for both."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .specs import Spec, build

PATIENCE = 60


@dataclass
class Side:
    """One of the two systems, with a worker that runs."""

    app: Any
    names: Any
    log: Path
    settle: Any
    """Called with results; waits until all their tasks have ended."""
    choose: Any
    """Make the side's app the current app."""
    queue: str = "celery"

    def run(self, specs: Mapping[int, Spec]) -> dict[int, Any]:
        """Call all the trees, wait until all have ended, and describe their outcomes."""
        return self.look(*self.ask(specs))

    def ask(self, specs: Mapping[int, Spec]) -> tuple[dict[int, Any], dict[int, Any]]:
        """Call the trees. Return their results, and the errors of trees that were refused."""
        self.choose()
        results: dict[int, Any] = {}
        refused: dict[int, Any] = {}
        for seed, spec in specs.items():
            try:
                results[seed] = build(spec, self.app, self.names).apply_async(tuple(spec.get("called with", ())))
            except Exception as error:
                refused[seed] = {"refused": type(error).__name__}
        return results, refused

    def look(self, results: Mapping[int, Any], refused: dict[int, Any]) -> dict[int, Any]:
        self.settle(list(results.values()))
        lines: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for line in map(json.loads, self.log.read_text().splitlines()):
            lines[int(line["n"].partition(".")[0])].append(line)
        return refused | {seed: seen(result, lines[seed]) for seed, result in results.items()}


# --- the outcome ------------------------------------------------------------------------------------

AN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:/[\w-]+)*")


class Names:
    """Names for ids: the number of the task that ran with the id, or a sign such as `#1` for an id without a run."""

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self._names: dict[str, str] = {}
        for line in lines:
            if "id" in line:  # for a replaced task, the number of the original
                self._names.setdefault(line["id"], line["n"])
        self._count = 0

    def of(self, id: Any) -> str | None:
        if id is None:
            return None
        if id not in self._names:
            self._count += 1
            self._names[id] = f"#{self._count}"
        return self._names[id]

    def within(self, text: str) -> str:
        return AN_ID.sub(lambda found: str(self.of(found.group())), text)


def seen(result: Any, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = Names(lines)
    for id in ids(result):
        names.of(id)
    found = {"results": structure(result, names), "gives": outcome(result, names, propagate=True)}
    runs: dict[str, list[Any]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: str(line["n"])):
        runs[line["n"]].append(run(line, names))
    found["runs"] = {n: sorted(each, key=json.dumps) for n, each in sorted(runs.items())}
    found["order"] = [line["n"] for line in lines]
    return found


def run(line: Mapping[str, Any], names: Names) -> Any:
    heard = line["with"]
    if isinstance(heard, dict):
        heard = {**heard, "id": names.of(heard["id"])}
        if "error" in heard:
            heard["error"] = names.within(heard["error"])
    told = {"with": heard}
    if "id" in line:
        told |= {"root": names.of(line["root"]), "parent": names.of(line["parent"]), "retries": line["retries"]}
        told["in a group"] = line["group"] is not None
    return told


def outcome(result: Any, names: Names, *, propagate: bool) -> Any:
    """Describe what `get` returns or raises."""
    if hasattr(result, "results") and not result.ready():
        return "not there"  # Celery may wait for ever in spite of the timeout
    try:
        value = result.get(timeout=0.2 if propagate else 0.05, propagate=propagate)
    except Exception as error:
        return described(error, names)
    return [described(each, names) for each in value] if isinstance(value, list) else described(value, names)


def described(value: Any, names: Names) -> Any:
    if isinstance(value, BaseException):
        if type(value).__name__ == "TimeoutError":
            return "not there"
        return f"{type(value).__name__}: {names.within(str(value))}"
    return value


def ids(result: Any) -> Iterator[Any]:
    """Yield the ids of the result, its members and its parents, always in the same order."""
    while result is not None:
        yield result.id
        for member in getattr(result, "results", None) or ():
            yield from ids(member)
        result = result.parent


def structure(result: Any, names: Names) -> Any:
    """Describe the result: its members, its parents, and the state and value of each."""
    if result is None:
        return None
    members = getattr(result, "results", None)
    if members is not None:
        return {
            "members": [structure(member, names) for member in members],
            "parent": structure(result.parent, names),
        }
    state = result.state
    ended = state in ("SUCCESS", "FAILURE")
    return {
        "task": names.of(result.id),
        "state": state,
        "value": outcome(result, names, propagate=False) if ended else None,
        # For a task that has not ended, Celery shows its children as they are stored, or not at all.
        "children": sorted(
            found for child in (result.children if ended else None) or () for found in shape(child, names)
        ),
        "parent": structure(result.parent, names),
    }


def shape(result: Any, names: Names) -> Iterator[str]:
    members = getattr(result, "results", None)
    if members is None:
        yield str(names.of(result.id))
    for member in members or ():
        yield from shape(member, names)
