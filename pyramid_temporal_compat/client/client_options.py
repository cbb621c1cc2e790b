"""What the application adds to temporalio's client and worker: interceptors, plugins, a converter, a storage."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import Plugin as ClientPlugin
from temporalio.converter import CompositePayloadConverter, DataConverter, DefaultPayloadConverter, ExternalStorage
from temporalio.worker import Interceptor as WorkerInterceptor
from temporalio.worker import Plugin as WorkerPlugin

from ..exceptions import ImproperlyConfigured
from ..payload.codecs import Codec
from ..payload.converter import data_converter
from ..payload.headers import HEADER_CODECS, HeaderInterceptor
from ..settings import Settings
from ..settings.config_objects import import_object


@dataclass(frozen=True)
class ClientOptions:
    """What a client is made with, besides its connection. A worker takes most of it from its client."""

    converter: DataConverter = field(default_factory=data_converter)
    interceptors: Sequence[ClientInterceptor] = ()
    plugins: Sequence[ClientPlugin] = ()
    worker_interceptors: Sequence[WorkerInterceptor] = ()
    """Interceptors for workers only. A worker takes interceptors for both from its client."""
    worker_plugins: Sequence[WorkerPlugin] = ()

    def of_client(self) -> dict[str, Any]:
        """Return the options for `temporalio.client.Client`."""
        return {
            "data_converter": self.converter,
            "header_codec_behavior": HEADER_CODECS,
            # The first interceptor is the outermost: the application's interceptors see the arguments as they are sent.
            "interceptors": [HeaderInterceptor(), *self.interceptors],
            "plugins": self.plugins,
        }


def client_options(conf: Settings, codecs: Sequence[Codec]) -> ClientOptions:
    """Return the options that the settings name."""
    converter = data_converter(codecs, _payload_converter(conf), _external_storage(conf))
    interceptors, worker_interceptors = _named(conf, "ptemporal.interceptors", ClientInterceptor, WorkerInterceptor)
    plugins, worker_plugins = _named(conf, "ptemporal.plugins", ClientPlugin, WorkerPlugin)
    return ClientOptions(converter, [*_tracing(conf), *interceptors], plugins, worker_interceptors, worker_plugins)


def _tracing(conf: Settings) -> list[ClientInterceptor]:
    """Return temporalio's interceptor that makes spans, if the setting asks for it."""
    if conf["ptemporal.tracing"] == "off":
        return []
    try:
        from temporalio.contrib.opentelemetry import TracingInterceptor  # an optional dependency
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"ptemporal.tracing = {conf['ptemporal.tracing']} needs OpenTelemetry ({error}): "
            "pip install 'pyramid-temporal-compat[opentelemetry]'"
        ) from None
    return [TracingInterceptor()]


def _named(conf: Settings, setting: str, of_client: type, of_worker: type) -> tuple[list[Any], list[Any]]:
    """Return the objects that a setting names: those for clients, and those for workers only."""
    made = {name: _made(name) for name in conf[setting]}
    for name, each in made.items():
        if not isinstance(each, (of_client, of_worker)):
            kind = of_client.__name__
            raise ImproperlyConfigured(
                f"{setting}: {name!r} is {each!r:.200}; it takes a temporalio.client.{kind} or a "
                f"temporalio.worker.{kind}, or a class or function that makes one"
            )
    return (
        [each for each in made.values() if isinstance(each, of_client)],
        [each for each in made.values() if not isinstance(each, of_client)],
    )


def _made(name: str) -> Any:
    """Return the object of this name. Call a class or a function: it makes the object."""
    found = import_object(name)
    return found() if isinstance(found, type) or inspect.isroutine(found) else found


def _payload_converter(conf: Settings) -> type[CompositePayloadConverter]:
    name = conf["ptemporal.payload_converter"]
    if name is None:
        return DefaultPayloadConverter
    found = import_object(name)
    if isinstance(found, DataConverter):
        found = found.payload_converter_class
    if not (isinstance(found, type) and issubclass(found, CompositePayloadConverter)):
        raise ImproperlyConfigured(
            f"ptemporal.payload_converter: {name!r} is {found!r:.200}; it takes a subclass of "
            "temporalio.converter.CompositePayloadConverter, or a DataConverter with one"
        )
    return found


def _external_storage(conf: Settings) -> ExternalStorage | None:
    name = conf["ptemporal.external_storage"]
    found = None if name is None else _made(name)
    if found is not None and not isinstance(found, ExternalStorage):
        raise ImproperlyConfigured(
            f"ptemporal.external_storage: {name!r} is {found!r:.200}; it takes a temporalio.converter.ExternalStorage"
        )
    return found
