"""Environment variables that give a setting, beside those that name the server (`connection.py`)."""

from __future__ import annotations

import os
from typing import Any

from .table import SETTINGS

VARIABLES = {
    "TEMPORAL_DEPLOYMENT_NAME": "ptemporal.deployment",
    "TEMPORAL_MAX_CONCURRENT_ACTIVITIES": "ptemporal.max_concurrent_activities",
    "TEMPORAL_MAX_CONCURRENT_WORKFLOWS": "ptemporal.max_concurrent_workflows",
    "TEMPORAL_TASK_QUEUE": "task_default_queue",
    "TEMPORAL_WORKER_BUILD_ID": "ptemporal.build_id",
}
"""The setting that each variable gives. Like the server's address, it wins over files, and code wins over it."""


def environment_settings() -> dict[str, Any]:
    """Return the settings that the environment gives now. An empty variable gives none."""
    given = {variable: value for variable in VARIABLES if (value := os.environ.get(variable))}
    return {
        VARIABLES[variable]: SETTINGS[VARIABLES[variable]].parse(value, variable) for variable, value in given.items()
    }
