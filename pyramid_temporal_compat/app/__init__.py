"""The app: tasks by name, a configuration, and the way to the server. Celery-shaped."""

from ..current import app_or_default, current_app, latest_app
from .base import APP_KEY, Celery
from .registry import TaskRegistry
from .shared import shared_task

__all__ = ["APP_KEY", "Celery", "TaskRegistry", "app_or_default", "current_app", "latest_app", "shared_task"]
