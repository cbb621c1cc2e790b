"""Random descriptions of canvases: plain JSON, from which both systems build their signatures."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

Spec = dict[str, Any]


def some_tree(seed: int) -> Spec:
    """Return the tree of this seed, always the same. Its tasks have numbers that begin with the seed."""
    dice = random.Random(seed)
    numbers = itertools.count(1)

    def number() -> str:
        return f"{seed}.{next(numbers)}"

    spec = _node(dice, dice.choice([1, 2, 2, 3]), number)
    if dice.random() < 0.25:
        spec["called with"] = [number()]
    return spec


def _node(dice: random.Random, depth: int, number: Callable[[], str], replaceable: bool = True) -> Spec:
    if depth == 0 or dice.random() < 0.2:
        spec = _leaf(dice, depth, number, replaceable)
    else:
        spec = dice.choice(KINDS)(dice, depth, number)
    if dice.random() < 0.15:
        inner = depth - 1 if depth > 1 and dice.random() < 0.3 else 0
        spec["links"] = [_node(dice, inner, number) for _ in range(dice.choice([1, 1, 2]))]
    if dice.random() < 0.2:
        spec["errbacks"] = [
            {"errback": dice.choice(["new", "old", "immutable"]), "n": number()} for _ in range(dice.choice([1, 1, 2]))
        ]
    return spec


def _leaf(dice: random.Random, depth: int, number: Callable[[], str], replaceable: bool) -> Spec:
    spec: Spec = {"task": dice.choice(["step"] * 14 + ["fail"] * 3 + ["flaky", "becomes"]), "n": number()}
    if spec["task"] == "becomes":
        if replaceable and depth:
            spec["into"] = _node(dice, depth - 1, number, replaceable=False)
        else:
            spec["task"] = "step"
    if dice.random() < 0.3:
        spec["args"] = [f"arg-{number()}"]
    if dice.random() < 0.2:
        spec["immutable"] = True
    return spec


def _several(dice: random.Random, depth: int, number: Callable[[], str], least: int = 1) -> list[Spec]:
    return [_node(dice, depth - 1, number) for _ in range(dice.choice([least, 2, 2, 3]))]


def _steps(parts: list[Spec]) -> list[Spec]:
    """Remove a case that Celery gets wrong: after a chord whose body is a group, each member of the group runs the rest
    of the chain."""
    for part in parts[:-1]:
        while "group" in part.get("body", {}):
            part["body"] = part["body"]["group"][0]
    return parts


KINDS: list[Callable[[random.Random, int, Callable[[], str]], Spec]] = [
    lambda dice, depth, number: {"chain": _steps(_several(dice, depth, number, 2)), "by": "name"},
    lambda dice, depth, number: {"chain": _steps(_several(dice, depth, number, 2)), "by": "pipe"},
    lambda dice, depth, number: {"group": _several(dice, depth, number)},
    lambda dice, depth, number: {"chord": _several(dice, depth, number), "body": _node(dice, depth - 1, number)},
]


def build(spec: Spec, app: Any, names: Any) -> Any:
    """Build the signature. `names` has `chain`, `group` and `chord`: Celery's or ours."""
    made = _made(spec, app, names)
    for link in spec.get("links", ()):
        made.link(build(link, app, names))
    for errback in spec.get("errbacks", ()):
        task = app.tasks[{"new": "t.heard", "old": "t.heard_id", "immutable": "t.step"}[errback["errback"]]]
        made.link_error(task.si(n=errback["n"]) if errback["errback"] == "immutable" else task.s(n=errback["n"]))
    return made


def _made(spec: Spec, app: Any, names: Any) -> Any:
    def several(key: str) -> list[Any]:
        return [build(part, app, names) for part in spec[key]]

    if "task" in spec:
        own = {"n": spec["n"], **({"into": spec["into"]} if "into" in spec else {})}
        made = app.tasks[f"t.{spec['task']}"].s(*spec.get("args", ()), **own)
        return made.set(immutable=True) if spec.get("immutable") else made
    if "chain" in spec:
        parts = several("chain")
        if spec["by"] == "name":
            return names.chain(*parts)
        joined = parts[0]
        for part in parts[1:]:
            joined = joined | part
        return joined
    if "group" in spec:
        return names.group(several("group"), app=app)
    return names.chord(several("chord"), build(spec["body"], app, names), app=app)


def size(spec: Spec) -> int:
    """Return the number of tasks in the spec."""
    parts = [part for key in ("chain", "group", "chord", "links", "errbacks") for part in spec.get(key, ())]
    parts += [spec[key] for key in ("body", "into") if key in spec]
    return ("n" in spec) + sum(map(size, parts))
