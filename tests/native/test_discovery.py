"""Workflows and activities are found by directive, by scan and by domain."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationExecutionError
from temporalio import workflow

from pyramid_temporal_compat import Celery, activity
from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.current import set_current_app
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.native.context import ActivityContext
from pyramid_temporal_compat.native.definitions import definitions_of, queue_of
from pyramid_temporal_compat.native.served_work import ServedWork

DOMAINS = "tests.native.domains"
PAYMENTS, BOOKINGS = f"{DOMAINS}.payments", f"{DOMAINS}.bookings"


@workflow.defn
class Greet:
    @workflow.run
    async def run(self) -> None: ...


@workflow.defn(name="Greet")
class GreetAgain:
    @workflow.run
    async def run(self) -> None: ...


@activity.defn
def wave(context: ActivityContext) -> None: ...


@pytest.fixture(autouse=True)
def app() -> Iterator[Celery]:
    made = Celery("discovery")
    yield made
    made.close()
    set_current_app(None)


def configurator(**settings: str) -> Any:
    config = Configurator(settings=settings)
    config.include("pyramid_temporal_compat")
    return config


def names(config: Any) -> list[tuple[str, str, str | None]]:
    return [(each.kind, each.name, each.queue) for each in definitions_of(config.registry)]


def test_directives_add_workflows_and_activities() -> None:
    config = configurator()
    config.add_temporal_workflow(Greet, task_queue="greetings")
    config.add_temporal_activity(f"{__name__}.wave")
    config.commit()
    assert names(config) == [("activity", "wave", None), ("workflow", "Greet", "greetings")]
    assert queue_of(config.registry, "workflow", "Greet") == "greetings"
    assert queue_of(config.registry, "workflow", "another") is None


def test_two_directives_for_one_name_are_a_conflict_that_names_both_lines() -> None:
    config = configurator()
    config.add_temporal_workflow(Greet)
    config.add_temporal_workflow(GreetAgain)
    with pytest.raises(ConfigurationConflictError) as raised:
        config.commit()
    assert str(raised.value).count("test_discovery.py") == 2


def test_two_definitions_of_one_name_name_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configurator()
    config.add_temporal_workflow(Greet)
    config.commit()
    config.add_temporal_workflow(GreetAgain)
    with pytest.raises(ConfigurationExecutionError) as raised:
        config.commit()
    text = str(raised.value)
    assert "two workflows have the name 'Greet'" in text
    assert f"{__name__}:{line_of(Greet)} and {__name__}:{line_of(GreetAgain)}" in text


def line_of(cls: type) -> int:
    lines = Path(__file__).read_text().splitlines()
    return lines.index(f"class {cls.__name__}:")  # counted from 0, so this is the decorator's line


@pytest.mark.parametrize(
    ("directive", "given", "told"),
    [
        ("add_temporal_workflow", dict, "is no workflow; decorate the class with @temporalio.workflow.defn"),
        ("add_temporal_activity", len, "is no activity; decorate the function"),
    ],
)
def test_what_is_no_definition_is_refused(directive: str, given: Any, told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=told):
        getattr(configurator(), directive)(given)


def test_queue_that_no_worker_can_serve_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="'Greet': task_queue='' can't be served"):
        configurator().add_temporal_workflow(Greet, task_queue="")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"scanned_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    files = {
        "__init__.py": "",
        "flows.py": """
            from temporalio import workflow
            from .acts import count

            @workflow.defn
            class Scanned:
                @workflow.run
                async def run(self) -> None: ...
            """,
        "acts.py": """
            from pyramid_temporal_compat import ActivityContext, activity

            @activity.defn
            def count(context: ActivityContext) -> int:
                return 1
            """,
        "left_out.py": """
            from temporalio import workflow

            @workflow.defn
            class LeftOut:
                @workflow.run
                async def run(self) -> None: ...
            """,
    }
    for file, text in files.items():
        (tmp_path / name / file).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


def test_scan_finds_decorated_workflows_and_activities(package: str) -> None:
    config = configurator()
    config.scan(package, ignore=f"{package}.left_out")
    config.commit()
    assert names(config) == [("activity", "count", None), ("workflow", "Scanned", None)]


def test_what_is_scanned_may_be_added_by_a_directive_that_names_its_queue(package: str) -> None:
    config = configurator()
    config.scan(package)
    config.add_temporal_workflow(f"{package}.flows.Scanned", task_queue="elsewhere")
    config.commit()
    assert ("workflow", "Scanned", "elsewhere") in names(config)


def test_scan_of_an_application_without_this_package_is_what_it_was(package: str) -> None:
    configurator()
    config = Configurator()
    config.scan(package)
    assert not [key for key in config.registry if str(key).startswith("pyramid_temporal_compat")]


def test_domains_are_imported_and_their_queue_is_that_of_the_package() -> None:
    config = configurator(**{"ptemporal.domains": f"{PAYMENTS} {BOOKINGS}"})
    config.commit()
    assert names(config) == [
        ("activity", "charge", "payments"),
        ("activity", "receipt_number", "payments"),
        ("activity", "wait_for_file", "payments"),
        ("workflow", "Pay", "payments"),
        ("workflow", "WaitForFile", "payments"),
        ("workflow", "bookings.Book", None),
    ]
    assert f"{PAYMENTS}.tasks.refund" in config.registry[APP_KEY].tasks


def test_error_inside_a_module_of_a_domain_is_not_swallowed() -> None:
    config = configurator(**{"ptemporal.domains": f"{DOMAINS}.broken"})
    with pytest.raises(ConfigurationExecutionError, match="No module named 'there_is_no_such_module'"):
        config.commit()


def test_domain_that_does_not_exist_is_an_error() -> None:
    config = configurator(**{"ptemporal.domains": f"{DOMAINS}.paiments"})
    with pytest.raises(ConfigurationExecutionError, match=r"there is no module 'tests\.native\.domains\.paiments'"):
        config.commit()


def test_chosen_domains_have_their_own_queues() -> None:
    config = configurator(**{"ptemporal.domains": f"{PAYMENTS} {BOOKINGS}", "celery.task_default_queue": "everything"})
    config.commit()
    app = config.registry[APP_KEY]
    served = {}
    for chosen in (None, ["payments"], [BOOKINGS]):
        work = ServedWork(app, chosen)
        work.load()
        served[str(chosen)] = work.queues(["everything"])
        if chosen == ["payments"]:
            assert work.tasks() == [f"{PAYMENTS}.tasks.refund"]
            assert "workflow Pay (payments)" in work.lines()
    assert served == {
        "None": ["everything", "payments"],
        "['payments']": ["payments"],
        f"['{BOOKINGS}']": ["everything"],
    }


def test_domain_that_is_not_declared_can_not_be_chosen() -> None:
    config = configurator(**{"ptemporal.domains": PAYMENTS})
    config.commit()
    work = ServedWork(config.registry[APP_KEY], ["bookings"])
    with pytest.raises(ImproperlyConfigured, match=r"domain 'bookings' is none of ptemporal\.domains = tests"):
        work.load()
