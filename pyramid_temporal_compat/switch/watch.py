"""What a process knows of the rules: a thread reads them every two seconds, so that a call only looks at memory."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from ..exceptions import CeleryError
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog
from .kept import KeptRules
from .rules import NO_RULES, Rules

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two looks at the rules."""


class WatchedRules:
    """The rules as of the last look. Every thread may use it; a forked process begins to look by itself."""

    def __init__(self, open_rules: Callable[[], KeptRules]) -> None:
        self._open_rules = open_rules
        self._lock = threading.Lock()
        self._watcher: RulesWatcher | None = None

    @property
    def now(self) -> Rules:
        """Return the rules. The first caller in a process waits for them. Raises if they can't be read then."""
        watcher = self._watcher
        if watcher is None or watcher.pid != os.getpid():
            watcher = self._begin()
        return watcher.rules

    def _begin(self) -> RulesWatcher:
        with self._lock:
            if self._watcher is None or self._watcher.pid != os.getpid():
                watcher = RulesWatcher(self._open_rules)
                watcher.start()
                watcher.wait_for_first_look()
                self._watcher = watcher
            return self._watcher

    def stop(self) -> None:
        """Look no longer. The next question begins anew."""
        with self._lock:
            if self._watcher is not None:
                self._watcher.stopped.set()
            self._watcher = None


class RulesWatcher(threading.Thread):
    """Reads the rules again and again. It has a thread of its own from the first look on.

    A caller's thread has a request and a transaction, which a look at the application's database must not touch.
    """

    def __init__(self, open_rules: Callable[[], KeptRules]) -> None:
        super().__init__(name="ptemporal-switch", daemon=True)
        self.pid = os.getpid()
        self.rules = NO_RULES
        self.stopped = threading.Event()
        self._open_rules = open_rules
        self._has_looked = threading.Event()
        self._first_error: CeleryError | None = None
        self._unreadable = ThrottledLog(log, logging.ERROR)

    def run(self) -> None:
        try:
            kept = self._open_rules()
            self._take(kept.read(), kept.where)
        except CeleryError as error:
            self._first_error = error
            return
        finally:
            self._has_looked.set()
        while not self.stopped.wait(INTERVAL):
            try:
                self._take(kept.read(), kept.where)
            except CeleryError as error:
                self._unreadable.say(
                    "the rules of the switch can't be read, and the last ones stay (%d times since this was said): %s",
                    one_line(error),
                )

    def wait_for_first_look(self) -> None:
        """Return when the rules are known. Raise if they can't be read."""
        self._has_looked.wait()
        if self._first_error is not None:
            raise self._first_error

    def _take(self, rules: Rules, where: str) -> None:
        if rules != self.rules:
            said = "; ".join(map(str, rules.ordered)) or "no rules, so every call goes to Temporal"
            log.info("the switch in %s: %s", where, one_line(said))
        self.rules = rules
