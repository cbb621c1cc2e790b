"""Apps for tests, and the trap for code that asks for the current app; Celery's `celery.contrib.testing.app`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

from .. import current
from ..app import Celery
from ..log import Logging
from . import tasks

__all__ = ["DEFAULT_TEST_CONFIG", "TestApp", "Trap", "UnitLogging", "set_trap", "setup_default_app", "test_app"]

assert tasks.ping  # every test app has it: with it a worker shows that it works

DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
}

ADDRESS = frozenset({"ptemporal.address", "ptemporal_address"})


class Trap:
    """Stands for the current app where a test allows none."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name == "_is_coroutine":  # what mock and inspect ask of any object
            raise AttributeError(name)
        raise RuntimeError(f"the code under test asked for the current app (its {name}); pass the app to it")


class UnitLogging(Logging):
    """Leaves logging as the test run has it."""

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
    """An app with settings that suit tests."""
    cls: Any = Celery if enable_logging else type("Celery", (Celery,), {"log": functools.cached_property(log)})
    app: Celery = cls(
        name or "celery.tests", set_as_current=set_as_current, backend=backend, broker=broker, **parameters
    )
    app.add_defaults({**copy.deepcopy(DEFAULT_TEST_CONFIG), **(config or {})})
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # for pytest, which takes it for a test by its name


@contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """While this lasts, whoever asks for the current app gets an error."""
    before = current.save_current()
    trap: Any = Trap()
    current.set_current_app(trap)
    try:
        yield
    finally:
        current.restore_current(before)


@contextmanager
def setup_default_app(app: Celery, use_trap: bool = False) -> Iterator[None]:
    """While this lasts, `app` may be made the current one; it is closed at the end, and the one before is back."""
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
    """The app of the fixtures, at `server` unless the settings name another."""
    parameters = dict(parameters)
    if ADDRESS.isdisjoint((*settings, *parameters)):
        # As code, which stands above TEMPORAL_ADDRESS: a test must not reach the server of the developer's shell.
        parameters["changes"] = {**(parameters.get("changes") or {}), "ptemporal.address": server.address}
    app = TestApp(config=settings, enable_logging=logging, **parameters)
    with setup_default_app(app, use_trap=trap):
        yield app


test_app.__test__ = False  # type: ignore[attr-defined]
