"""The functions of `kombu.utils.url`: they take apart a broker's URL, for settings that still have one."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit


class urlparts(NamedTuple):
    """The parts of a broker's URL."""

    scheme: str
    hostname: str | None
    port: int | None
    username: str | None
    password: str | None
    path: str | None
    query: dict[str, Any]


def url_to_parts(url: str) -> urlparts:
    """Return the parts of `url`, unescaped. A missing part is None."""
    scheme = urlsplit(url).scheme
    # Read as http, so that the part after `://` is read in the same way for all schemes.
    parts = urlsplit("http://" + url[len(scheme) + 3 :])
    return urlparts(
        scheme,
        unquote(parts.hostname or "") or None,
        parts.port,
        unquote(parts.username or "") or None,
        unquote(parts.password or "") or None,
        unquote(parts.path.removeprefix("/")) or None,
        dict(parse_qsl(parts.query)),
    )


def parse_url(url: str) -> dict[str, Any]:
    """Return the parts of `url` as kombu's connection options."""
    scheme, host, port, user, password, path, query = url_to_parts(url)
    tls = {name: _ssl_option(name, query.pop(name)) for name in list(query) if name.startswith("ssl_")}
    named = {"transport": scheme, "hostname": host, "port": port, "userid": user, "password": password}
    return {**named, "virtual_host": path, **query, **({"ssl": tls} if tls else {})}


def as_url(
    scheme: str,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    password: str | None = None,
    path: str | None = None,
    query: Mapping[str, Any] | None = None,
    sanitize: bool = False,
    mask: str = "**",
) -> str:
    """Return the URL of these parts. With `sanitize`, the password is masked."""
    login = quote(user or "", safe="")
    if password:
        login += ":" + (mask if sanitize else quote(password, safe=""))
    where = quote(host or "", safe="") + (f":{port}" if port else "")
    return f"{scheme}://{login + '@' if login else ''}{where}/{path or ''}"


def sanitize_url(url: str, mask: str = "**") -> str:
    """Return `url` with its password masked."""
    return as_url(*url_to_parts(url), sanitize=True, mask=mask)


def maybe_sanitize_url(url: Any, mask: str = "**") -> Any:
    """Return `url` with its password masked; return a value that is not a URL unchanged."""
    return sanitize_url(url, mask) if isinstance(url, str) and "://" in url else url


def _ssl_option(name: str, value: str) -> Any:
    if name == "ssl_check_hostname":
        return value.lower() != "false"
    if name == "ssl_cert_reqs":
        return ssl.VerifyMode[value if value.startswith("CERT_") else f"CERT_{value.upper()}"]
    return value
