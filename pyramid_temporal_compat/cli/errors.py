"""Prints the errors of commands in one line, and tells which error in the application's own code a command met."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator

import click

from ..exceptions import CeleryError, ImproperlyConfigured, OperationalError
from ..log_lines.error_place import place_of

EXIT_FAILED = 1
"""Exit code if something outside is missing: no server, no namespace, no database."""
EXIT_USAGE = 2
"""Exit code if the user wrote something invalid: on the command line, in the ini, in a setting."""
EXIT_UNAVAILABLE = 69
"""Exit code of Celery's commands about workers if no worker answers, or if the server is away (EX_UNAVAILABLE)."""


@contextlib.contextmanager
def failing_in_one_line(failed: int = EXIT_FAILED) -> Iterator[None]:
    """Print an error that the user can fix in one line, and exit with the code for its kind.

    `failed` is the code if something outside is missing.
    """
    try:
        yield
    except OperationalError as error:
        _fail(str(error), failed)
    except CeleryError as error:
        # A KeyError, such as QueueNotFound, puts its text into quotes.
        _fail(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error), EXIT_USAGE)


@contextlib.contextmanager
def loading(what: str, *, debug: bool | None = None) -> Iterator[None]:
    """Turn every exception of the application's own code into `ImproperlyConfigured`, with the place of the error.

    `what` is what the user named: an ini file, an app or a module. With `debug`, also print the traceback. None means
    that the command has no `-l debug` to offer.
    """
    try:
        yield
    except (click.ClickException, CeleryError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        more = "" if debug is None else "; -l debug prints the traceback"
        raise ImproperlyConfigured(f"{what} can't be loaded: {text} ({place_of(error)}{more})") from None


def _fail(message: str, code: int) -> None:
    click.echo(f"ptemporal-compat: {message}", err=True)
    if code != EXIT_USAGE:
        # After a failed connection, a thread of the client library still runs. If it returns to an interpreter that is
        # ending, it panics or hangs for ever. This was seen with a server that does not answer.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
