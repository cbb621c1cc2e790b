"""An error of the application's own code is told with the application's file and line."""

from __future__ import annotations

import inspect

import pytest

from pyramid_temporal_compat.log_lines.error_place import place_of
from pyramid_temporal_compat.schedules import crontab


def test_the_place_is_where_the_application_calls_this_package() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    with pytest.raises(ValueError, match="99") as caught:
        crontab(minute=99)
    assert place_of(caught.value) == f"{__file__}:{frame.f_lineno - 1}"
