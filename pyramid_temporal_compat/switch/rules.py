"""The rules of the switch. A rule is a pattern, and the share of the matching calls that Temporal gets."""

from __future__ import annotations

import fnmatch
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..exceptions import ImproperlyConfigured
from ..payload.bounds import read_json

QUEUE = "queue:"
"""The beginning of a pattern that matches queues. Other patterns match names of tasks."""
STEPS = 100_000
"""Into how many parts the ids of calls are divided, to give a share of them to each side."""


@dataclass(frozen=True)
class Rule:
    """Which share of the calls that match a pattern goes to Temporal. Celery gets the others."""

    pattern: str
    temporal: float
    """Percent, 0 to 100."""

    def __str__(self) -> str:
        return f"{self.pattern}: {share(self.temporal)} to Temporal, {share(100 - self.temporal)} to Celery"

    def matches(self, task: str, queue: str) -> bool:
        if self.pattern.startswith(QUEUE):
            return fnmatch.fnmatchcase(queue, self.pattern.removeprefix(QUEUE))
        return fnmatch.fnmatchcase(task, self.pattern)


def share(percent: float) -> str:
    """Return a share as people write it."""
    return f"{percent:g} %"


@dataclass(frozen=True)
class Rules:
    """All rules of one application, in the order in which they are asked."""

    ordered: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Rules:
        """Return the rules: those for tasks before those for queues, and a longer pattern before a shorter one."""
        return cls(tuple(sorted(rules, key=lambda rule: (rule.pattern.startswith(QUEUE), -len(rule.pattern)))))

    def with_rule(self, rule: Rule) -> Rules:
        """Return these rules and one more, which takes the place of a rule with the same pattern."""
        return Rules.of([*(each for each in self.ordered if each.pattern != rule.pattern), rule])

    def without(self, pattern: str) -> Rules:
        """Return the other rules."""
        return Rules(tuple(each for each in self.ordered if each.pattern != pattern))

    def is_for_celery(self, task: str, queue: str, id: str) -> bool:
        """Return whether Celery gets a call. The first rule that matches decides; without one, Temporal gets it.

        The answer depends on the id alone, so it is the same in each process. If Temporal's share grows, each call that
        went to Temporal before still goes there.
        """
        rule = next((each for each in self.ordered if each.matches(task, queue)), None)
        return rule is not None and _place_of(id) >= rule.temporal

    def plain(self) -> dict[str, Any]:
        """Return the rules as plain data for JSON."""
        return {"rules": [{"pattern": each.pattern, "temporal": each.temporal} for each in self.ordered]}

    def written(self) -> str:
        """Return the rules as JSON."""
        return json.dumps(self.plain())

    @classmethod
    def read(cls, text: str, where: str) -> Rules:
        """Read what `written` wrote. `where` names the place for an error."""
        try:
            found = [Rule(each["pattern"], float(each["temporal"])) for each in read_json(text.encode())["rules"]]
            if not all(isinstance(rule.pattern, str) and 0 <= rule.temporal <= 100 for rule in found):
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ImproperlyConfigured(
                f"{where} holds no rules of a switch; `ptemporal-compat migrate switch set` writes them"
            ) from None
        return cls.of(found)


NO_RULES = Rules()


def _place_of(id: str) -> float:
    """Return the place of an id between 0 and 100. All places are equally frequent."""
    return zlib.crc32(id.encode()) % STEPS / (STEPS / 100)
