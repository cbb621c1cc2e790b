"""What `celery -A tests.move.old_worker worker` loads: the old release, with the ini that MOVE_INI names."""

from __future__ import annotations

import os

from pyramid.paster import get_app

from .old_release import app

get_app(os.environ["MOVE_INI"])

__all__ = ["app"]
