"""Periodic tasks: what an application declares, when it is due, and the schedules on the server.

`celery_schedules.py`  `crontab` and `schedule`, with Celery's API; `timezones.py` has the times that they need
`solar_events.py`      `solar`, a schedule of sunrises and sunsets
`beat_scheduler.py`    the classes of `celery.beat`, which read entries and are told of firings
`sources.py`           where periodic tasks are declared; `entries.py` checks each and makes it a value
`firing_times.py`      a Celery schedule as calendars and intervals of the server; `clock_changes.py` adds moved runs
`declaration.py`       what the server is to hold for an entry
`plan.py`              the difference between declaration and server
`drivers.py`           the workflows that fire schedules whose times only their class knows
`sync.py`              asks the server, and makes it equal
"""

from .celery_schedules import BaseSchedule, crontab, schedule
from .solar_events import solar

__all__ = ["BaseSchedule", "crontab", "schedule", "solar"]
