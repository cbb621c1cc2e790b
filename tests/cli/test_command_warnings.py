"""The one warning that the commands hide: Pyramid imports `pkg_resources`, which asks everyone not to."""

from __future__ import annotations

import warnings

import pytest

from pyramid_temporal_compat.cli import hide_pkg_resources_warning

MESSAGE = "pkg_resources is deprecated as an API. See https://setuptools.pypa.io/en/latest/pkg_resources.html."


def warn(module: str, message: str = MESSAGE) -> None:
    warnings.warn_explicit(message, UserWarning, "asset.py", 2, module=module)


def test_pyramids_import_of_pkg_resources_is_not_shown() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        hide_pkg_resources_warning()
        warn("pyramid.asset")
    assert shown == []


@pytest.mark.parametrize(
    ("module", "message"), [("shop.views", MESSAGE), ("pyramid.asset", "pkg_resources is on fire")], ids=str
)
def test_other_warnings_are_shown(module: str, message: str) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        hide_pkg_resources_warning()
        warn(module, message)
    assert [str(one.message) for one in shown] == [message]


def test_what_the_user_asks_of_python_goes_first() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        hide_pkg_resources_warning()
        with pytest.raises(UserWarning, match="pkg_resources is deprecated"):
            warn("pyramid.asset")
