"""Control and inspect calls: questions and orders to running workers, by Celery's names.

`control` is what applications call, `panel` holds the commands that workers answer, and a call travels between
the two as `addresses` and `channel` say.
"""

from .control import UNSUPPORTED, CommandRefused, Control, Inspect, flatten_reply

__all__ = ["UNSUPPORTED", "CommandRefused", "Control", "Inspect", "flatten_reply"]
