"""Loads the application that a command names: by an ini file, by `-A`, or by both."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import plaster
import plaster_pastedeploy
from pyramid.config import global_registries
from pyramid.scripts.common import get_config_loader

from ..app import APP_KEY, Celery, current_app
from ..exceptions import ImproperlyConfigured
from ..interfaces import AppLike
from ..log import Logging
from ..settings.ini import unreadable
from .common import Common, importing
from .errors import loading
from .find_app import import_from_here, named_app


class NotIncluded(ImproperlyConfigured):
    """The Pyramid application does not include this package."""


def application(common: Common, config: str | None = None) -> AppLike:
    """Return the app that the command line names: by an ini, by `-A`, or by both.

    With both, the app of `-A` gets its requests from the Pyramid application of the ini. An app without an ini has an
    empty Pyramid registry.
    """
    with importing():
        return _load(common, config)


def _load(common: Common, config: str | None) -> AppLike:
    config = common.config = config or common.config
    app = app_by_name(common)
    if config is None:
        if app is None and os.environ.get("CELERY_CONFIG_MODULE"):
            app = current_app()  # as in Celery: the configuration names the task modules
        if app is None:
            raise click.UsageError("name the application: an ini file, or -A module:app")
        return app
    if app is not None:
        app.set_current()  # the application's `config.include` uses the current app
    with loading(config, debug=common.debug):
        found = bootstrapped(config, common.ini_variables)
    if app is not None and found is not app:
        raise ImproperlyConfigured(f"{config} has an app of its own, {found!r}, and -A names {app!r}; leave -A out")
    return found


def app_by_name(common: Common) -> AppLike | None:
    """Return the app that `-A` names, or whose `start()` runs this command line; None if an ini alone names it."""
    if isinstance(common.app, str):
        with loading(f"-A {common.app}", debug=common.debug):
            common.app = named_app(common.app)
    return common.app


def bootstrapped(config: str, variables: Mapping[str, str]) -> Celery:
    """Load the application of an ini file as pserve does, with the ini's logging, and return its app.

    `variables` are the values of `%(name)s` in the ini.
    """
    path = config.partition("#")[0]
    if "://" not in path and not path.startswith("egg:") and not Path(path).is_file():
        raise click.UsageError(f"there is no file {path!r}; name the application's ini file")
    import_from_here()
    try:
        loader = loader_of(config)
        if "loggers" in loader.get_sections():
            loader.setup_logging(dict(variables))
            Logging.already_setup = True
        return app_of(loader.get_wsgi_app(defaults=dict(variables)))
    except configparser.InterpolationMissingOptionError as error:
        raise ImproperlyConfigured(
            f"{config} uses %({error.reference})s, which has no value; give it: --ini-var {error.reference}=VALUE"
        ) from None
    except configparser.Error as error:
        raise unreadable(path, error) from None


def loader_of(config: str) -> Any:
    """Return what reads a configuration, as pserve would find it."""
    uri = plaster.parse_uri(config)
    if uri.scheme == "file+ini":
        # plaster would find the same class, after it has read the metadata of each installed package: 30 ms.
        return plaster_pastedeploy.Loader(uri)
    return get_config_loader(config)


def app_of(wsgi_app: Any) -> Celery:
    """Return the app of a bootstrapped Pyramid application."""
    registry = getattr(wsgi_app, "registry", None) or global_registries.last
    app = registry.get(APP_KEY) if registry is not None else None
    if not isinstance(app, Celery):
        raise NotIncluded(
            "the application does not include pyramid_temporal_compat; add it to pyramid.includes in the ini, "
            'or call config.include("pyramid_temporal_compat")'
        )
    return app
