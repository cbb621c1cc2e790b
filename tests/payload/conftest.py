"""WebOb imports `cgi`, which warns on Python 3.11 and 3.12: imported here first, where that is no error."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import webob  # noqa: F401
