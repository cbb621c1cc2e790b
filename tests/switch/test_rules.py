"""The rules of the switch: which rule decides, which ids go to which side, and how rules are kept."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.switch.kept import RulesInFile
from pyramid_temporal_compat.switch.rules import NO_RULES, Rule, Rules

IDS = [str(uuid.UUID(int=number * 7919)) for number in range(2000)]


def for_celery(rules: Rules, task: str, queue: str = "celery") -> set[str]:
    return {id for id in IDS if rules.is_for_celery(task, queue, id)}


def test_without_a_rule_every_call_goes_to_temporal() -> None:
    assert not for_celery(NO_RULES, "reports.make")
    assert not for_celery(Rules.of([Rule("reports.*", 0)]), "mail.send")


def test_a_share_is_stable_and_grows_without_moving_a_call_back() -> None:
    before = for_celery(Rules.of([Rule("reports.*", 10)]), "reports.make")
    after = for_celery(Rules.of([Rule("reports.*", 50)]), "reports.make")
    assert 1700 < len(before) < 1900
    assert 900 < len(after) < 1100
    assert after < before


def test_the_longest_pattern_decides_and_tasks_come_before_queues() -> None:
    rules = Rules.of([Rule("*", 0), Rule("queue:reports", 100), Rule("reports.*", 0), Rule("reports.big", 100)])
    assert not for_celery(rules, "reports.big")
    assert len(for_celery(rules, "reports.make", "reports")) == len(IDS)
    of_queues = Rules.of([Rule("queue:rep*", 0), Rule("queue:reports", 100)])
    assert not for_celery(of_queues, "x", "reports")
    assert len(for_celery(of_queues, "x", "repairs")) == len(IDS)


def test_a_rule_takes_the_place_of_the_rule_with_its_pattern() -> None:
    rules = Rules.of([Rule("a", 0)]).with_rule(Rule("a", 30)).with_rule(Rule("bb", 0)).without("bb")
    assert rules.ordered == (Rule("a", 30),)
    assert str(rules.ordered[0]) == "a: 30 % to Temporal, 70 % to Celery"


def test_rules_in_a_file_come_back_as_they_were_written(tmp_path: Path) -> None:
    kept = RulesInFile(tmp_path / "switch.json")
    assert kept.read() == NO_RULES
    rules = Rules.of([Rule("*", 0), Rule("reports.*", 12.5)])
    kept.write(rules)
    assert kept.read() == rules
    assert [path.name for path in tmp_path.iterdir()] == ["switch.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"rules": [{"pattern": "x"}]}', '{"rules": [{"pattern": 1, "temporal": 1}]}']
)
def test_a_file_without_rules_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "switch.json"
    path.write_text(text)
    with pytest.raises(ImproperlyConfigured, match=r"switch\.json holds no rules of a switch"):
        RulesInFile(path).read()
    with pytest.raises(OperationalError, match="can't be written"):
        RulesInFile(tmp_path / "missing" / "switch.json").write(NO_RULES)
