"""Signed messages: the serialiser `auth`, as in Celery.

The sender signs a message with its key. A worker reads only messages that were signed with the key of a certificate
in its store. The bytes are the same as Celery's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from ..interfaces import AppLike

NOT_CHOSEN = (
    "setup_security() needs task_serializer = 'auth' and accept_content = ['auth']: signing is of no use where "
    "unsigned messages are accepted too; now they are {serializer!r} and {accept!r}"
)
NOT_SET = "setup_security() needs {missing}: set them, or pass them as key=, cert= and store="


def setup_security(
    app: AppLike,
    allowed_serializers: Any = None,
    key: str | None = None,
    key_password: bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
) -> None:
    """Register the serialiser `auth`. Arguments win over the settings for key, certificate and store."""
    # They need the package cryptography, which only applications that sign have.
    from ..payload import serializers
    from .signing import Certificate, CertificateStore, PrivateKey, SignedSerializer

    conf = app.conf
    if conf["task_serializer"] != "auth" or list(conf["accept_content"]) != ["auth"]:
        chosen = {"serializer": conf["task_serializer"], "accept": conf["accept_content"]}
        raise ImproperlyConfigured(NOT_CHOSEN.format(**chosen))
    given = {
        "security_key": key or conf["security_key"],
        "security_certificate": cert or conf["security_certificate"],
        "security_cert_store": store or conf["security_cert_store"],
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ImproperlyConfigured(NOT_SET.format(missing=", ".join(missing)))
    signed = SignedSerializer(
        PrivateKey(_read(given["security_key"]), key_password or conf["security_key_password"]),
        Certificate(_read(given["security_certificate"])),
        CertificateStore(given["security_cert_store"]),
        digest or conf["security_digest"],
        serializer,
    )
    serializers.register("auth", signed.serialize, signed.deserialize, "application/data", "utf-8")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(f"the file {path!r} can't be read: {error.strerror}") from None
