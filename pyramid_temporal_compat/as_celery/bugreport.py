"""`celery.bugreport()`: versions and settings, for a bug report."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from ..celery_names.version import __version__
from ..settings import connection
from .local_proxies import app_or_default

if TYPE_CHECKING:
    from ..interfaces import AppLike

PACKAGES = ("pyramid-temporal-compat", "temporalio", "pyramid", "pyramid_tm", "transaction", "sqlalchemy")


def bugreport(app: AppLike | None = None) -> str:
    """Return versions, platform and settings as a text. Secrets are masked."""
    found = app_or_default(app)
    where = connection(found.conf)
    packages = " ".join(f"{package}:{_version(package)}" for package in PACKAGES)
    return "\n".join(
        (
            f"software -> celery:{__version__} {packages} py:{platform.python_version()}",
            f"platform -> {platform.platform()}",
            f"server   -> {where.address} namespace:{where.namespace}",
            f"app      -> {found.main or '-'}",
            "",
            found.conf.humanize(with_defaults=False),
        )
    )


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # 10 ms, which a process without a report saves

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
