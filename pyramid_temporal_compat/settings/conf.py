"""`app.conf`: the current settings, from all places where they can be written."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from ..exceptions import ImproperlyConfigured
from .config_objects import as_mapping, import_object, refuse_mixed_names
from .declare import Effect, Setting
from .environment import environment_settings
from .masking import hidden
from .table import CELERY_NAMES, NAMES, SETTINGS, resolve
from .values import names_server

IMMUTABLE_DEFAULTS = {
    name: setting.default for name, setting in SETTINGS.items() if not isinstance(setting.default, dict)
}
MUTABLE_DEFAULTS = {name: setting.default for name, setting in SETTINGS.items() if isinstance(setting.default, dict)}

Defaults = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class SettingIgnored:
    """A setting that the application sets and that has no effect here."""

    name: str
    effect: Effect
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


class FoundOption(NamedTuple):
    """The result of `find_option`: the group, the name within the group, and the setting."""

    namespace: str | None
    key: str
    type: Setting


class Settings(MutableMapping[str, Any]):
    """A mapping, and an object with attributes, over these layers, highest first:

    code (`conf.x = y`), environment, ini, `add_defaults`, `config_from_object`, defaults.

    The layers below code are read when a setting is first read, so that an application may configure itself in
    any order. Reads need no lock: they see one dict, which a write replaces.
    """

    def __init__(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        source: Any = None,
        silent: bool = False,
        namespace: str | None = None,
        before_load: Callable[[], object] | None = None,
        after_load: Callable[[], object] | None = None,
        prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: values,
    ) -> None:
        """`given` are settings from the app's own arguments. They fit both spellings of other settings."""
        self._lock = threading.RLock()
        self._view: dict[str, Any] | None = None
        self._loading = False
        self._source = source
        self._silent = silent
        self._prefix = _prefix(namespace)
        self._before_load = before_load
        self._after_load = after_load
        self._prepare = prepare
        self._mutable_defaults = copy.deepcopy(MUTABLE_DEFAULTS)
        self._changes: dict[str, Any] = {}
        self._ini: dict[str, Any] = {}
        self._pending: list[Defaults] = []
        self._added: dict[str, Any] = {}
        self._object: dict[str, Any] = {}
        self._environment: dict[str, Any] = {}
        self._spelled: set[str] = set()
        self.update(given or {})
        self._spelled.clear()
        self.update(changes or {})

    # --- where settings come from

    def config_from_object(
        self, source: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Use `source`: a mapping, a module, a class, or the dotted name of one. It is read when first needed."""
        with self._lock:
            self._source, self._silent = source, silent
            self._prefix = _prefix(namespace) if namespace is not None else self._prefix
            if force or self.configured:
                self._object = self._read_source()
                self._view = self._merge()

    def config_from_envvar(self, variable: str, silent: bool = False, force: bool = False) -> bool:
        """Use the configuration whose dotted name the environment variable `variable` holds."""
        name = os.environ.get(variable)
        if not name:
            if silent:
                return False
            raise ImproperlyConfigured(
                f"the environment variable {variable} is not set: "
                f'give it the name of a configuration module, as {variable}="proj.celeryconfig"'
            )
        self.config_from_object(name, silent=silent, force=force)
        return True

    def add_ini(self, values: Mapping[str, Any]) -> None:
        """Use the settings that `read_ini` or `from_pyramid` returned."""
        values = dict(values)
        if values.pop("use_celeryconfig", False) and self._source is None:
            self.config_from_object("celeryconfig")
        with self._lock:
            self._ini.update(self._normalised(values))
            self._refresh()

    def add_defaults(self, defaults: Defaults) -> None:
        """Add defaults from a mapping, or from a callable that returns one when settings are first read."""
        with self._lock:
            self._pending.append(defaults)
            if self.configured:
                self._take_pending()
                self._refresh()

    @property
    def configured(self) -> bool:
        """Whether the settings were read."""
        return self._view is not None

    @property
    def namespace(self) -> str:
        return self._prefix.rstrip("_")

    def on_load(self, before: Callable[[], object] | None, after: Callable[[], object] | None) -> None:
        """Call `before` when settings are about to be read for the first time, and `after` when they have been."""
        self._before_load, self._after_load = before, after

    def finalize(self) -> Settings:
        """Read the settings now, unless they have been read."""
        self._loaded()
        return self

    def by_own_name(self) -> Mapping[str, Any]:
        """Return the settings as they are now, each by its own name only: the quickest way to read many of them."""
        return self._loaded()

    def _loaded(self) -> dict[str, Any]:
        view = self._view
        return self._load() if view is None else view

    def _load(self) -> dict[str, Any]:
        with self._lock:
            if self._view is not None:
                return self._view
            if self._loading:
                return self._merge()
            self._loading = True
            try:
                if self._before_load:
                    self._before_load()
                self._object = self._read_source()
                self._environment = environment_settings()
                # Celery's rule looks at the configuration object, or else at what was set in code until now.
                if not self._source and not self._object:
                    refuse_mixed_names(self._spelled)
                self._changes = self._normalised(self._changes)
                self._take_pending()
                view = self._view = self._merge()
            except AttributeError as error:
                # `hasattr(conf, ...)` would take it for a setting that is missing, and hide it.
                raise ImproperlyConfigured(f"the configuration can't be read: {error}") from error
            finally:
                self._loading = False
            if self._after_load:
                self._after_load()
            return self._view or view

    def _read_source(self) -> dict[str, Any]:
        source = self._source or os.environ.get("CELERY_CONFIG_MODULE")
        if not source:
            return {}
        if isinstance(source, str):
            try:
                source = import_object(source)
            except (ImportError, ImproperlyConfigured):
                if self._silent:
                    return {}
                raise
        values = self._prepare(as_mapping(source))
        if not self._prefix:
            refuse_mixed_names(values)
        return self._normalised(values)

    def _take_pending(self) -> None:
        # The later ones go above the earlier, as in Celery.
        while self._pending:
            defaults = self._pending[0]
            self._added.update(self._normalised(defaults() if callable(defaults) else defaults))
            self._pending.remove(defaults)

    def _merge(self) -> dict[str, Any]:
        # add_defaults stands above config_from_object because Celery, for all the name says, has it so.
        return {
            **IMMUTABLE_DEFAULTS,
            **self._mutable_defaults,
            **self._object,
            **self._added,
            **self._ini,
            **self._environment,
            **self._changes,
        }

    def _refresh(self) -> None:
        if self._view is not None:
            self._view = self._merge()

    def _normalised(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `values` by the settings' own names. Of a setting's several names, the prefixed or new one wins."""
        found: dict[str, Any] = {}
        for key in sorted(values, key=self._rank):
            name = self._name(key)
            found[name] = _read(name, key, values[key])
        return found

    def _rank(self, key: str) -> int:
        return 2 if self._prefix and key.startswith(self._prefix) else int(key in SETTINGS)

    def _name(self, key: str) -> str:
        """Return the name under which `key` is stored: the setting's, or `key` itself if it is the application's."""
        prefix = self._prefix
        if prefix and key.startswith(prefix):
            rest = key[len(prefix) :]
            if name := NAMES.get(rest.lower()):
                return name
        return resolve(key) or key

    # --- the mapping

    def __getitem__(self, key: str) -> Any:
        view = self._view  # not `_loaded()`: every call of a task reads several settings
        if view is None:
            view = self._load()
        try:
            return view[key]
        except KeyError:
            pass
        name = NAMES.get(key) or self._name(key)
        if name not in view and self._prefix:
            name = self._prefix + key.upper() if self._prefix.isupper() else self._prefix + key
        if name in view:
            return view[name]
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock:
            name = self._name(key)
            self._changes[name] = _read(name, key, value)
            if self._view is None:
                self._spelled.add(key)
            self._refresh()

    def __delitem__(self, key: str) -> None:
        with self._lock:
            try:
                del self._changes[self._name(key)]
            except KeyError:
                raise KeyError(f"{key!r} was not set in code; defaults and files can't be deleted from") from None
            self._spelled.discard(key)
            self._refresh()

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        try:
            self[key]
        except (KeyError, ImproperlyConfigured):
            return key in self._loaded()
        return True

    def __bool__(self) -> bool:
        return True

    def setdefault(self, key: str, default: Any = None) -> Any:
        # Before settings were read it must not read them: `conf.setdefault` stands at import time in applications.
        if self._view is None:
            if self._name(key) not in self._changes:
                self[key] = default
            return self._changes[self._name(key)]
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Forget the values that were set in code. Files and defaults stay."""
        with self._lock:
            self._changes.clear()
            self._spelled.clear()
            self._refresh()

    def first(self, *keys: str) -> Any:
        """Return the first value among `keys` that is not None."""
        return next((value for key in keys if (value := self.get(key)) is not None), None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        view = self._loaded()
        if name in view:
            return view[name]
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
        except ImproperlyConfigured as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError as error:
            raise AttributeError(*error.args) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._loaded() if name.isidentifier())]

    def __repr__(self) -> str:
        # Before settings were read, to show them must not read them: a debugger would change the order of things.
        return f"<{type(self).__name__} {self.table() if self.configured else 'not read yet'}>"

    # --- the few settings that Celery reads in a way of their own

    @property
    def broker_url(self) -> Any:
        return os.environ.get("CELERY_BROKER_URL") or self.first("broker_url", "broker_host")

    @property
    def broker_read_url(self) -> Any:
        return os.environ.get("CELERY_BROKER_READ_URL") or self.get("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:
        return os.environ.get("CELERY_BROKER_WRITE_URL") or self.get("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:
        return os.environ.get("CELERY_RESULT_BACKEND") or self.get("result_backend")

    @property
    def task_default_exchange(self) -> Any:
        return self.first("task_default_exchange", "task_default_queue")

    @property
    def task_default_routing_key(self) -> Any:
        return self.first("task_default_routing_key", "task_default_queue")

    @property
    def timezone(self) -> Any:
        # TIME_ZONE is Django's.
        return self.first("timezone", "TIME_ZONE")

    # --- what was set, and where

    @property
    def changes(self) -> dict[str, Any]:
        """A copy of the values that were set in code."""
        return dict(self._changes)

    @property
    def defaults(self) -> list[dict[str, Any]]:
        """Copies of the layers below the values set in code, highest first."""
        self._loaded()
        return [
            dict(self._environment),
            dict(self._ini),
            dict(self._added),
            dict(self._object),
            {**IMMUTABLE_DEFAULTS, **self._mutable_defaults},
        ]

    def origin(self, key: str) -> str | None:
        """Return the layer that gives `key`: code, environment, ini, add_defaults, config_from_object or default."""
        self._loaded()
        name = self._name(key)
        layers = {
            "code": self._changes,
            "environment": self._environment,
            "ini": self._ini,
            "add_defaults": self._added,
            "config_from_object": self._object,
            "default": SETTINGS,
        }
        return next((layer for layer, values in layers.items() if name in values), None)

    def value_set_for(self, key: str) -> bool:
        """Return whether `key` has a value from anywhere but the defaults."""
        self._loaded()
        name = key if key in SETTINGS else self._name(key)  # every call of a task asks
        return (
            name in self._changes
            or name in self._ini
            or name in self._environment
            or name in self._added
            or name in self._object
        )

    def without_defaults(self) -> Settings:
        """Return the settings that were given a value."""
        return _Given(self._given())

    def _given(self) -> dict[str, Any]:
        self._loaded()
        given = {**self._object, **self._added, **self._ini, **self._environment, **self._changes}
        # A default that the application changed in place (conf.beat_schedule["x"] = ...) has become its own.
        changed = {key: value for key, value in self._mutable_defaults.items() if value != MUTABLE_DEFAULTS[key]}
        return {**changed, **given}

    @property
    def notices(self) -> list[SettingIgnored]:
        """Return the settings that the application sets and that have no effect here, each with the reason."""
        given = self._given()
        for name in ("broker_url", "broker_read_url", "broker_write_url", "result_backend"):
            if value := os.environ.get(f"CELERY_{name.upper()}"):
                given[name] = value
        return [
            SettingIgnored(name, setting.effect, setting.sentence)
            for name, setting in SETTINGS.items()
            if setting.effect is not Effect.ACTS and name in given and given[name] != setting.default
            if name != "broker_url" or not names_server(given[name])
        ]

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return the settings as a dict to be shown. Secrets are hidden unless `censored` is false.

        A setting that neither Celery nor this package declares belongs to the application. Only its name is shown,
        because the name need not say that the value is a secret.
        """
        values = self._loaded() if with_defaults else self._given()
        return {
            key: value if not censored else SETTINGS[key].shown(value) if key in SETTINGS else hidden(value)
            for key, value in values.items()
            if not key.startswith("_")
        }

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return the settings as text, one setting a line."""
        return "\n".join(f"{key}: {value!r}" for key, value in self.table(with_defaults, censored).items())

    # --- Celery's ways to find a setting

    def find_option(self, name: str, namespace: str = "celery") -> FoundOption:
        """Return the setting `name`, with or without its group: `find_option("concurrency")` is worker_concurrency."""
        name, namespace = name.lower(), namespace.lower()
        for full in (f"{namespace}_{name}", name):
            if full in SETTINGS:
                return _found(full)
        for full in CELERY_NAMES:
            if full.partition("_")[2] == name:
                return _found(full)
        raise KeyError(name)

    def get_by_parts(self, *parts: str | None) -> Any:
        """Return the value of the setting whose name is `parts`, joined."""
        return self["_".join(part for part in parts if part)]

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """Return the value of the setting that `find_option` finds."""
        return self.get_by_parts(*self.find_option(name, namespace)[:2])

    # --- copies

    def copy(self) -> Settings:
        """Return independent settings with the same values in every layer."""
        return _restore(self.finalize()._state())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Settings:
        return _restore(copy.deepcopy(self.finalize()._state(), memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._state(),)

    def _state(self) -> dict[str, Any]:
        # A module can't be pickled; its name can, and means the same on the other side.
        source = self._source.__name__ if isinstance(self._source, ModuleType) else self._source
        return {
            "_source": source,
            "_silent": self._silent,
            "_prefix": self._prefix,
            "_changes": dict(self._changes),
            "_spelled": set(self._spelled),
            "_ini": dict(self._ini),
            "_environment": dict(self._environment),
            "_added": dict(self._added),
            # Celery leaves callables behind too: the other side's import adds its own.
            "_pending": [defaults for defaults in self._pending if not callable(defaults)],
            "_mutable_defaults": copy.deepcopy(self._mutable_defaults),
        }


class _Given(Settings):
    """Settings that have no defaults."""

    def _merge(self) -> dict[str, Any]:
        return dict(self._changes)

    def _read_source(self) -> dict[str, Any]:
        return {}


def _restore(state: dict[str, Any]) -> Settings:
    settings = Settings()
    for name, value in state.items():
        object.__setattr__(settings, name, value)
    return settings


def _prefix(namespace: str | None) -> str:
    return namespace.rstrip("_") + "_" if namespace else ""


def _read(name: str, key: str, value: Any) -> Any:
    """Check the values. Our own settings are read from text in every layer, and Celery's stay as given."""
    setting = SETTINGS.get(name)
    if setting is None or setting.celery == name:
        return value
    return setting.default if value is None else setting.parse(value, key)


def _found(name: str) -> FoundOption:
    group, _, rest = name.partition("_")
    # A name such as `enable_utc` has no group, though it has an underscore.
    if sum(other.startswith(group + "_") for other in SETTINGS) < 2 or not rest:
        return FoundOption(None, name, SETTINGS[name])
    return FoundOption(group, rest, SETTINGS[name])
