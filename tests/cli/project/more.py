"""A module of tasks that the app's `include` names."""

from __future__ import annotations

from pyramid_temporal_compat import shared_task


@shared_task
def double(x: int) -> int:
    return 2 * x
