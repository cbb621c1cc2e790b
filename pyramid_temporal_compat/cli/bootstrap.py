"""From a command's arguments to an application, and from an application's error to one line."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pyramid.scripts.common import get_config_loader

from ..app import Celery
from ..exceptions import CeleryError, OperationalError
from ..worker.discovery import app_of

EXIT_FAILED = 1
"""The surroundings are not as they should be: no server, no namespace."""
EXIT_USAGE = 2
"""What the user wrote can't be used: the command line, the ini, a setting."""


def bootstrapped(config: str) -> Celery:
    """Load the application as pserve does: its ini, the logging of the ini, its `main()`."""
    path = config.partition("#")[0]
    if "://" not in path and not path.startswith("egg:") and not Path(path).is_file():
        raise click.UsageError(f"there is no file {path!r}; name the application's ini file")
    loader = get_config_loader(config)
    loader.setup_logging({"__file__": path, "here": str(Path(path).resolve().parent)})
    return app_of(loader.get_wsgi_app())


@contextlib.contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a user can mend is told in one line, and the exit code says whose turn it is."""
    try:
        yield
    except click.ClickException:
        raise
    except OperationalError as error:
        _fail(str(error), EXIT_FAILED)
    except CeleryError as error:
        _fail(str(error), EXIT_USAGE)
    except Exception as error:
        if not _is_configuration(error):
            raise
        logging.getLogger(__name__).debug("the application did not start", exc_info=True)
        _fail(" ".join(f"{type(error).__name__}: {error}".split()), EXIT_USAGE)


def _is_configuration(error: Exception) -> bool:
    """Whether the ini, or what it names, is at fault: then nobody needs our traceback."""
    return isinstance(error, (LookupError, ImportError, OSError, ValueError))


def _fail(message: str, code: int) -> None:
    click.echo(f"ptemporal-compat: {message}", err=True)
    sys.exit(code)
