"""The billable actions that an embedded server has counted: its own metric `action`."""

from __future__ import annotations

import re
import time
import urllib.request
from collections import Counter

from pyramid_temporal_compat.server import EmbeddedServer

REPORT_EVERY = 1.2
"""Seconds in which the server brings its metrics up to date."""
METRIC = re.compile(r'action\{action_type="([^"]+)",namespace="default",[^}]*\} (\d+)')


def settled_actions(server: EmbeddedServer) -> Counter[str]:
    """Return the actions so far by the server's types, once its metrics tell of all of them. Nothing may be running."""
    now, last = _actions(server), None
    while now != last:
        time.sleep(REPORT_EVERY)
        now, last = _actions(server), now
    return now


def _actions(server: EmbeddedServer) -> Counter[str]:
    with urllib.request.urlopen(server.metrics_address) as answer:
        return Counter({kind: int(number) for kind, number in METRIC.findall(answer.read().decode())})
