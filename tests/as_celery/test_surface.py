"""Every public name that Celery lists exists here or is refused."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import pyramid_temporal_compat
from pyramid_temporal_compat import as_celery, settings
from pyramid_temporal_compat.as_celery.name_table import MODULES
from pyramid_temporal_compat.celery_names import refused
from pyramid_temporal_compat.exceptions import CeleryError

PUBLIC = [
    "celery",
    "celery.app",
    "celery.app.control",
    "celery.app.task",
    "celery.beat",
    "celery.canvas",
    "celery.contrib.abortable",
    "celery.contrib.pytest",
    "celery.contrib.testing.worker",
    "celery.exceptions",
    "celery.result",
    "celery.schedules",
    "celery.signals",
    "celery.states",
    "celery.utils",
    "celery.utils.log",
    "celery.worker.control",
    "kombu",
    "kombu.serialization",
    "kombu.utils.json",
    "kombu.utils.uuid",
]

CELERYS_OWN = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
found = {}
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    own = [n for n, value in vars(module).items() if getattr(value, "__module__", "") == name]
    found[name] = [n for n in getattr(module, "__all__", own) if not n.startswith("_")]
from celery.app.defaults import NAMESPACES, flatten
found["settings"] = [name for name, _ in flatten(NAMESPACES)]
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install this package as Celery. Afterwards restore the real Celery, which other tests compare with."""
    real = {
        name: sys.modules[name]
        for name in list(sys.modules)
        if name.partition(".")[0] in ("celery", "kombu", "billiard")
    }
    for name in real:
        monkeypatch.delitem(sys.modules, name)
    pyramid_temporal_compat.install_as_celery()
    yield
    as_celery.uninstall()


@pytest.fixture(scope="module")
def surface() -> dict[str, list[str]]:
    ran = subprocess.run(
        [sys.executable, "-c", CELERYS_OWN, *PUBLIC], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def is_unsupported(dotted: str) -> bool:
    table = pyramid_temporal_compat.unsupported()
    parts = dotted.split(".")
    return dotted in table or any(".".join(parts[:end]) + ".*" in table for end in range(1, len(parts) + 1))


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_exists_or_is_refused(surface: dict[str, list[str]], module: str) -> None:
    missing = {
        f"{module}.{name}"
        for name in surface[module]
        if not is_there(module, name) and not is_unsupported(f"{module}.{name}")
    }
    assert not missing


def test_each_name_that_celery_exports_is_exported_here(surface: dict[str, list[str]]) -> None:
    import celery

    exported = ("Celery", "bugreport", "shared_task", "Task", "current_app", "current_task", "uuid")
    assert set(exported) <= set(surface["celery"])
    for name in exported:
        assert getattr(pyramid_temporal_compat, name) is getattr(celery, name)


def test_each_setting_is_known(surface: dict[str, list[str]]) -> None:
    import celery

    conf = celery.Celery("surface", set_as_current=False).conf
    assert not [name for name in surface["settings"] if name not in conf]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_each_name_of_the_table_exists(module: str) -> None:
    found = importlib.import_module(module)
    assert not [name for name in MODULES[module] if not hasattr(found, name)]


def test_log_formats_set_on_celerys_trace_module_are_used_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.app import trace
    from celery.worker import strategy

    from pyramid_temporal_compat.worker import task_log as task_log

    assert (trace.logger.name, strategy.logger.name) == ("celery.app.trace", "celery.worker.strategy")
    monkeypatch.setattr(task_log, "LOG_SUCCESS", task_log.LOG_SUCCESS)  # restores the value that the next line changes
    trace.LOG_SUCCESS = "%(name)s is done"
    assert task_log.LOG_SUCCESS == "%(name)s is done"


# --- refused names ---------------------------------------------------------------------------------


def refused_names() -> list[str]:
    return [name for name in refused.NAMES if not name.endswith("*")] + [f"{name}.Anything" for name in refused.MODULES]


@pytest.mark.parametrize("dotted", refused_names())
def test_a_refused_name_can_be_imported_and_raises_its_sentence_when_used(dotted: str) -> None:
    module, _, name = dotted.rpartition(".")
    value: Any = getattr(importlib.import_module(module), name)
    sentence = pyramid_temporal_compat.unsupported().get(dotted) or refused.sentence_of(dotted)
    assert sentence

    for use in (lambda: value("amqp://"), lambda: value.attribute, lambda: value[0], lambda: list(value)):
        with pytest.raises(as_celery.Unsupported) as caught:
            use()
        assert str(caught.value) == f"{dotted} is refused here. {sentence}"
    with pytest.raises(CeleryError, match="is refused here"), value:
        pass


def test_a_refused_name_may_be_mentioned() -> None:
    from kombu import Connection

    def annotated(connection: Connection | None = None) -> dict[str, Connection]:  # type: ignore[valid-type]
        return {}

    assert annotated() == {}
    assert not isinstance(object(), Connection)
    assert repr(Connection) == "<refused kombu.Connection>"
    assert inspect.isclass(Connection)
    assert not hasattr(Connection, "__venusian_callbacks__")  # config.scan() reads this attribute of every object


def test_a_subclass_of_a_refused_class_is_refused_on_use() -> None:
    import celery.app.backends
    import celery.backends.redis
    from celery import bootsteps

    class OwnBackend(celery.backends.redis.RedisBackend):  # type: ignore[misc]
        def own(self) -> Any:
            return super().own()

    class OwnStep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)

    celery.app.backends.BACKEND_ALIASES["own"] = f"{__name__}:OwnBackend"
    assert OwnStep.requires == ("celery.worker.components:Pool",)
    with pytest.raises(as_celery.Unsupported, match=r"OwnBackend derives from celery\.backends\.redis\.RedisBackend"):
        OwnBackend(app=None)
    with pytest.raises(as_celery.Unsupported, match=r"OwnStep derives from celery\.bootsteps\.StartStopStep"):
        OwnStep()


def test_the_refusals_say_what_to_use_instead() -> None:
    table = pyramid_temporal_compat.unsupported()
    assert {name: text for name, text in table.items() if name.startswith("conf.")} == settings.unsupported()
    for name, sentence in table.items():
        assert sentence.endswith("."), name
        assert len(sentence.split()) >= 7, name


def test_no_name_both_exists_and_is_refused() -> None:
    assert not [
        f"{module}.{name}" for module, names in MODULES.items() for name in names if f"{module}.{name}" in refused.NAMES
    ]


def test_the_table_gives_the_module_of_a_name() -> None:
    for module, names in MODULES.items():
        for name, target in names.items():
            where, _, attribute = target.partition(":")
            assert where, (module, name)
            assert ast.parse(attribute, mode="eval"), (module, name)
