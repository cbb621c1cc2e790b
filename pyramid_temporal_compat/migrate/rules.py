"""The table of rules: what each finds, what happens here, what to do, and how long that takes.

`migration_guide/rules.md` is made from this table. The hundreds of a code say what the rule is about:
1 imports, 2 glue, 3 task classes, 4 apps and settings, 5 periodic tasks, 6 commands, 7 packages and tests, 8 behaviour
at run time, 9 the live broker.
"""

from __future__ import annotations

from .rule import ORDER, Fix, Rule, Severity
from .rules_of_code import RULES_OF_CODE
from .rules_of_running import RULES_OF_RUNNING

TABLE: tuple[Rule, ...] = (*RULES_OF_CODE, *RULES_OF_RUNNING)
RULES: dict[str, Rule] = {rule.code: rule for rule in TABLE}

__all__ = ["ORDER", "RULES", "TABLE", "Fix", "Rule", "Severity"]
