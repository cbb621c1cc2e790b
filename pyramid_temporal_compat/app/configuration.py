"""The methods of an app that read and change its configuration: `app.config_from_object(…)`, `app.timezone`."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import signals
from ..exceptions import ImproperlyConfigured
from ..settings.command_line import from_words
from .periodic import PeriodicTasks

if TYPE_CHECKING:
    from ..settings import Settings


class Configuration(PeriodicTasks):
    """The part of an app that takes settings. `app.conf` holds them."""

    conf: Settings
    on_configure: Any
    on_after_configure: Any

    @property
    def configured(self) -> bool:
        """Return whether the settings have been read."""
        return self.conf.configured

    @property
    def namespace(self) -> str | None:
        """Return the prefix of the settings in the configuration object; None without a prefix."""
        return self.conf.namespace or None

    def _about_to_configure(self) -> None:
        if isinstance(self.on_configure, signals.Signal):
            self.on_configure.send(sender=self)
        else:
            self.on_configure()

    def _has_configured(self) -> None:
        self._keep_early_periodic()
        self.on_after_configure.send(sender=self, source=self.conf)

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take the configuration from a module, an object, a dict, or the dotted name of one."""
        self.conf.config_from_object(obj, silent=silent, force=force, namespace=namespace)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """Take the configuration from the module that an environment variable names."""
        return self.conf.config_from_envvar(variable_name, silent=silent, force=force)

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Take settings from words such as `worker.concurrency=2`. A word `.x=1` sets `x` of the namespace."""
        self.conf.update(from_words(argv, namespace))

    def prepare_config(self, c: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `c`, the content of the configuration object. A subclass may override this, to change settings."""
        return c

    def add_defaults(self, fun: Any) -> None:
        """Add defaults: a mapping, or a function that returns one when settings are first read."""
        self.conf.add_defaults(fun)

    def either(self, default_key: str, *defaults: Any) -> Any:
        """Return the first of `defaults` that is not None; without one, the setting."""
        return next((value for value in defaults if value is not None), self.conf.get(default_key))

    @property
    def timezone(self) -> datetime.tzinfo:
        """Return the application's time zone. The default is UTC."""
        return self.naive_zone or datetime.timezone.utc

    @timezone.setter
    def timezone(self, zone: datetime.tzinfo | str) -> None:
        """Set the `timezone` setting, which the app's schedules and naive times follow."""
        self.conf["timezone"] = zone

    @property
    def naive_zone(self) -> datetime.tzinfo | None:
        """Return the time zone of a datetime that names none; None if the application sets no `timezone`."""
        name = self.conf["timezone"]
        if name is None or isinstance(name, datetime.tzinfo):
            return name
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ImproperlyConfigured(
                f"timezone = {name!r} is not a time zone; write a name such as Europe/Paris"
            ) from None

    def uses_utc_timezone(self) -> bool:
        """Return whether the application's time zone is UTC."""
        return self.timezone.utcoffset(None) == datetime.timedelta(0) or str(self.timezone) == "UTC"

    def now(self) -> datetime.datetime:
        """Return the time now, in the application's time zone."""
        return datetime.datetime.now(self.timezone)
