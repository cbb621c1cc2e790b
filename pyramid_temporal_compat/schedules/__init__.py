"""Celery's schedules: when a periodic task is due."""
