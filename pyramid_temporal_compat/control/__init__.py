"""Control and inspect calls: orders and questions to running workers, under Celery's names.

In an application: `control` gives orders and `inspect_calls` asks questions. `channel` finds the workers and sends them
requests, as `addresses` explains. In a worker: `receiver` answers requests, with the commands of `worker_commands`.
"""

from .call_arguments import flatten_reply
from .control import Control
from .inspect_calls import Inspect
from .refused_calls import UNSUPPORTED, CommandRefused

__all__ = ["UNSUPPORTED", "CommandRefused", "Control", "Inspect", "flatten_reply"]
