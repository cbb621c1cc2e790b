"""Makes apps for tests, with the task that every test app has, and a trap for code that asks for the current app.

It stands for Celery's modules `app`, `tasks` and `mocks` of `celery.contrib.testing`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn
from unittest import mock

from .. import current
from ..app import Celery, shared_task
from ..log import Logging

__all__ = ["DEFAULT_TEST_CONFIG", "TestApp", "Trap", "UnitLogging", "set_trap", "setup_default_app", "test_app"]

DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
}

ADDRESS_SETTINGS = frozenset({"ptemporal.address", "ptemporal_address"})


@shared_task(name="celery.ping")
def ping() -> str:
    """Return "pong". Every test app has this task, so that a test can check that its worker works."""
    return "pong"


def ContextMock(*args: Any, **kwargs: Any) -> mock.MagicMock:
    """Return a mock that is also a context manager, and returns itself on entry."""
    made = mock.MagicMock(*args, **kwargs)
    made.__enter__.return_value = made
    made.__exit__.return_value = None
    return made


class Trap:
    """Stands in for the current app where a test allows none: every use raises an error."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name == "_is_coroutine":  # mock and inspect ask any object for these
            raise AttributeError(name)
        raise RuntimeError(f"the code under test asked for the current app (its {name}); pass the app to it")


class UnitLogging(Logging):
    """Leaves logging as the test run has configured it."""

    already_setup = True


def TestApp(
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: Any = None,
    broker: Any = None,
    **parameters: Any,
) -> Celery:
    """Return an app with settings that suit tests."""
    cls: Any = Celery if enable_logging else type("Celery", (Celery,), {"log": functools.cached_property(log)})
    app: Celery = cls(
        name or "celery.tests", set_as_current=set_as_current, backend=backend, broker=broker, **parameters
    )
    app.add_defaults({**copy.deepcopy(DEFAULT_TEST_CONFIG), **(config or {})})
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it, because of its name


@contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """While this lasts, code that asks for the current app gets an error."""
    before = current.save_current()
    trap: Any = Trap()
    current.set_current_app(trap)
    try:
        yield
    finally:
        current.restore_current(before)


@contextmanager
def setup_default_app(app: Celery, use_trap: bool = False) -> Iterator[None]:
    """While this lasts, a test may make `app` the current app. At the end, close it and restore the earlier app."""
    before = current.save_current()
    try:
        with set_trap(app) if use_trap else nullcontext():
            yield
    finally:
        current.restore_current(before)
        if app not in before:
            app.close()


@contextmanager
def test_app(
    server: Any, settings: Mapping[str, Any], parameters: Mapping[str, Any], *, logging: bool, trap: bool
) -> Iterator[Celery]:
    """Return the app of the fixtures. It uses `server`, unless the settings name another."""
    parameters = dict(parameters)
    if ADDRESS_SETTINGS.isdisjoint((*settings, *parameters)):
        # Settings in code outrank TEMPORAL_ADDRESS: a test must not reach the server of the developer's shell.
        parameters["changes"] = {**(parameters.get("changes") or {}), "ptemporal.address": server.address}
    app = TestApp(config=settings, enable_logging=logging, **parameters)
    with setup_default_app(app, use_trap=trap):
        yield app


test_app.__test__ = False  # type: ignore[attr-defined]
