"""The server's address and the credentials, from the settings, the environment and a profile."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured
from .conf import Settings
from .masking import masked
from .table import SETTINGS
from .values import Reason, address, address_in

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConfigProfile

log = logging.getLogger(__name__)

BROKER_VARIABLE = "CELERY_BROKER_URL"
"""The environment variable that a command's `-b` sets, too. As in Celery it wins over all other places."""

HOST_VARIABLE = "TEMPORAL_HOST"
"""Names the server, with or without a port, where TEMPORAL_ADDRESS does not."""
PORT = re.compile(r":\d+$")
DEFAULT_PORT = 7233

# The names that a profile has for our settings.
TLS_FIELDS = {
    "ptemporal.tls_server_name": "server_name",
    "ptemporal.tls_ca_file": "server_root_ca_cert",
    "ptemporal.tls_cert_file": "client_cert",
    "ptemporal.tls_key_file": "client_private_key",
}
FIELDS = ("ptemporal.address", "ptemporal.namespace", "ptemporal.api_key", "ptemporal.tls", *TLS_FIELDS)


@dataclass(frozen=True)
class ConnectionSettings:
    """All values that a Temporal client needs to connect. `sources` tells where each setting's value comes from."""

    address: str
    namespace: str
    api_key: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_server_name: str | None = None
    tls_ca: bytes | None = field(default=None, repr=False)
    tls_cert: bytes | None = field(default=None, repr=False)
    tls_key: bytes | None = field(default=None, repr=False)
    grpc_meta: Mapping[str, str] = field(default_factory=dict, repr=False)
    identity: str | None = None
    connect_timeout: float = 10.0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)


def connection(settings: Settings, environ: Mapping[str, str] | None = None) -> ConnectionSettings:
    """Return the connection for `settings`, the `TEMPORAL_*` environment and a profile.

    Highest first: `-b`, code, environment, ini and configuration object, profile, defaults. The environment overrides
    files, because that is its purpose, and as in temporalio and Pyramid. Code overrides the environment, because a
    test or a program that names a server wants exactly this server.
    """
    environ = os.environ if environ is None else environ
    layers = [("code", _written(settings, "code")), *_profiles(settings, environ)]
    layers.insert(2, ("settings", _written(settings, "ini", "config_from_object", "add_defaults")))
    layers.insert(0, (BROKER_VARIABLE, _of_broker(environ.get(BROKER_VARIABLE))))
    found: dict[str, Any] = {name: SETTINGS[name].default for name in FIELDS}
    sources = dict.fromkeys(FIELDS, "default")
    meta: dict[str, str] = {}
    for source, values in reversed(layers):
        meta.update(values.pop("grpc_meta", None) or {})
        for name, value in values.items():
            found[name] = (
                SETTINGS[name].parse(value, f"{name} (from the {source})") if isinstance(value, str) else value
            )
            sources[name] = _file(settings, name) if source == "settings" else source
    _tell_of_broker(settings, environ, sources["ptemporal.address"])
    tls = found["ptemporal.tls"]
    certificates = {name: found[name] for name in TLS_FIELDS if found[name]}
    if bool(found["ptemporal.tls_cert_file"]) != bool(found["ptemporal.tls_key_file"]):
        raise ImproperlyConfigured("a client certificate needs both ptemporal.tls_cert_file and ptemporal.tls_key_file")
    _refuse_unsendable(found["ptemporal.api_key"], sources["ptemporal.api_key"])
    return ConnectionSettings(
        address=found["ptemporal.address"],
        namespace=found["ptemporal.namespace"],
        api_key=found["ptemporal.api_key"],
        tls=bool(certificates or found["ptemporal.api_key"]) if tls is None else tls,
        tls_server_name=found["ptemporal.tls_server_name"],
        tls_ca=_content("ptemporal.tls_ca_file", found),
        tls_cert=_content("ptemporal.tls_cert_file", found),
        tls_key=_content("ptemporal.tls_key_file", found),
        grpc_meta=MappingProxyType(meta),
        identity=settings["ptemporal.identity"],
        connect_timeout=settings["ptemporal.connect_timeout"],
        sources=MappingProxyType(sources),
    )


def _written(settings: Settings, *origins: str) -> dict[str, Any]:
    broker = settings["broker_url"] if settings.origin("broker_url") in origins else None
    own = {name: settings[name] for name in FIELDS if settings.origin(name) in origins and settings[name] is not None}
    return {**_of_broker(broker), **own}


def _of_broker(url: Any) -> dict[str, Any]:
    """Return the address from Celery's broker setting, if it names a Temporal server."""
    try:
        found = address_in(url)
    except ValueError as error:
        reason = f" ({error})" if isinstance(error, Reason) else ""
        raise ImproperlyConfigured(
            f"broker_url = {masked('', url)!r} can't be read{reason}: it takes temporal://host:port, as "
            "temporal://localhost:7233"
        ) from None
    return {} if found is None else {"ptemporal.address": found}


def _file(settings: Settings, name: str) -> str:
    origin = settings.origin(name)
    if origin in ("code", "default"):  # it is the broker's
        origin = settings.origin("broker_url")
    return str(origin)


_names_of_broker: dict[str, str] = {}
"""What the user wrote to give the broker that stands in `CELERY_BROKER_URL`: `-b` or a variable, by the broker."""


BROKER_SCHEMES = frozenset(
    (
        *("temporal", "amqp", "amqps", "pyamqp", "librabbitmq", "qpid", "memory", "filesystem", "fs"),
        *("redis", "rediss", "sentinel", "sqs", "sqla", "sqlalchemy", "mongodb", "consul", "etcd", "zookeeper"),
        *("pyro", "slmq", "azurestoragequeues", "azureservicebus", "confluentkafka", "gcpubsub"),
    )
)
"""Schemes of URLs that `-b` takes: ours, and those of Celery's brokers."""


def set_broker(url: str, named: str) -> None:
    """Use the broker of a command line in this process and its children. `named` is what the user wrote to give it.

    It has to be the address of a Temporal server, or a URL, which may be the one of the broker that Celery had.
    """
    scheme, mark, _ = url.partition("://")
    if mark and scheme.lower().partition("+")[0] not in BROKER_SCHEMES:
        raise ImproperlyConfigured(
            f"{named} {masked('', url)!r} is the URL of no Temporal server, and of no broker that Celery knows: "
            f"it takes {address.takes}, or temporal://host:port"
        )
    if not mark:
        try:
            address.parse(url)
        except ValueError as error:
            reason = f" ({error})" if isinstance(error, Reason) else ""
            raise ImproperlyConfigured(
                f"{named} {url!r} names no Temporal server{reason}: it takes {address.takes}"
            ) from None
    os.environ[BROKER_VARIABLE] = url
    _names_of_broker[url] = named


_told: set[str] = set()
"""The log lines about unused brokers that this process has written. It writes each line once."""


def _tell_of_broker(settings: Settings, environ: Mapping[str, str], source: str) -> None:
    """Log that a broker is not used: as a warning, unless the application itself names the Temporal server."""
    named = environ.get(BROKER_VARIABLE)
    url = named or settings["broker_url"]
    if not url or _of_broker(url):
        return
    name = _names_of_broker.get(named, BROKER_VARIABLE) if named else "broker_url"
    text = f"{name}{' ' if name.startswith('-') else ' = '}{masked('', url)}"
    if text not in _told:
        _told.add(text)
        level = logging.WARNING if named or source == "default" else logging.INFO
        log.log(level, "%s is not used: Temporal is the broker; ptemporal.address (host:port) says where it is", text)


def _profiles(settings: Settings, environ: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Return two layers of values: from the environment and from the profile."""
    # temporalio costs a third of a second to import, and only a process that is about to connect needs it.
    from temporalio.envconfig import ClientConfigProfile

    variables = {name: value for name, value in environ.items() if name.startswith("TEMPORAL_") and value}
    if host := variables.pop(HOST_VARIABLE, None):
        variables.setdefault("TEMPORAL_ADDRESS", host if PORT.search(host) else f"{host}:{DEFAULT_PORT}")
    profile = _choice(settings, "ptemporal.profile", variables.pop("TEMPORAL_PROFILE", None))
    file = _choice(settings, "ptemporal.config_file", variables.pop("TEMPORAL_CONFIG_FILE", None))
    if file and not Path(file).is_file():
        raise ImproperlyConfigured(f"the Temporal configuration file {file!r} (ptemporal.config_file) does not exist")
    try:
        from_environment = ClientConfigProfile.load(disable_file=True, override_env_vars=variables)
        from_file = ClientConfigProfile.load(profile, config_source=Path(file) if file else None, disable_env=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ImproperlyConfigured(f"the Temporal profile {profile or 'default'!r} can't be read: {reason}") from None
    return [("environment", _fields(from_environment)), ("profile", _fields(from_file))]


def _choice(settings: Settings, name: str, variable: str | None) -> str | None:
    value: str | None = settings[name]
    return value if settings.origin(name) == "code" else variable or value


def _fields(profile: ClientConfigProfile) -> dict[str, Any]:
    tls = profile.tls
    values: dict[str, Any] = {
        "ptemporal.address": profile.address,
        "ptemporal.namespace": profile.namespace,
        "ptemporal.api_key": profile.api_key,
        # A profile that only has a TLS section wants TLS, unless the section says that it is disabled.
        "ptemporal.tls": None if tls is None else not tls.disabled,
        **{name: _source(getattr(tls, attribute, None), name) for name, attribute in TLS_FIELDS.items()},
        "grpc_meta": dict(profile.grpc_meta),
    }
    return {name: value for name, value in values.items() if value is not None}


def _source(value: Any, name: str) -> Any:
    # A text in a profile is the certificate itself; in our settings it is the path of a file.
    return value.encode() if isinstance(value, str) and name.endswith("_file") else value


def _refuse_unsendable(api_key: str | None, source: str) -> None:
    # The client library would send the call without the key, and the server's answer would not say why.
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ImproperlyConfigured(
            f"ptemporal.api_key (from the {source}) has a character that can't be sent, such as a line break; "
            "write the key alone, on one line"
        )


PEM_MARKS = {
    "ptemporal.tls_ca_file": b"-----BEGIN CERTIFICATE-----",
    "ptemporal.tls_cert_file": b"-----BEGIN CERTIFICATE-----",
    "ptemporal.tls_key_file": b"PRIVATE KEY-----",
}
"""What each file must contain. The client library silently treats a file with other content as empty."""


def _content(name: str, found: Mapping[str, Any]) -> bytes | None:
    """Return a certificate or a key, from its file or from a profile's text."""
    value = found[name]
    if value is None:
        return None
    try:
        content = value if isinstance(value, bytes) else Path(value).read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(f"{name} = {os.fspath(value)!r} can't be read: {error.strerror}") from None
    if PEM_MARKS[name] not in content:
        where = "the profile's text" if isinstance(value, bytes) else repr(os.fspath(value))
        raise ImproperlyConfigured(f"{name}: {where} is not in PEM form; it has no line {PEM_MARKS[name].decode()!r}")
    return content
