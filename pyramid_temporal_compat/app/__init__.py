"""The app, as Celery has it: tasks by name, a configuration, and the connection to the server."""

from ..current import app_or_default, current_app, latest_app
from .base import APP_KEY, Celery
from .registry import TaskRegistry
from .shared import shared_task

__all__ = ["APP_KEY", "Celery", "TaskRegistry", "app_or_default", "current_app", "latest_app", "shared_task"]
