"""Celery's schedules: when a periodic task is due."""

from .celery_schedules import BaseSchedule, crontab, schedule

__all__ = ["BaseSchedule", "crontab", "schedule"]
