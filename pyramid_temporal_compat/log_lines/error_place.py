"""Where in an application's code an error is to be mended."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path

NEVER_MENDED = (
    "<frozen ",
    os.path.dirname(contextlib.__file__) + os.sep + "importlib",
    str(Path(__file__).parent.parent) + os.sep,
)
"""The beginnings of the names of files that a user does not change: parts of Python, and this package."""


def place_of(error: BaseException) -> str:
    """Return `file:line` of an error: where a syntax error is, or else the application's last line on the way to it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(NEVER_MENDED)]
    where = (own or frames)[-1]
    return f"{where.filename}:{where.lineno}"
