"""`ptemporal-compat report --cost`: prints how many actions, which Temporal Cloud bills, a namespace costs a month."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from ..client.cost_estimate import CostEstimate, estimate
from ..interfaces import AppLike
from ..log_lines.text_safety import one_line
from .ask_server import ask

TIMEOUT = 300.0
"""Seconds for the whole estimate."""
MOST_TYPES = 25
"""Workflow types in the table. JSON has all."""
LEFT_OUT = (
    "Not in these figures: queries, and the heartbeats that tell the progress of tasks, up to one a second. Other "
    "heartbeats are estimated from how long activities ran. Temporal Cloud bills storage too."
)


def print_cost(app: AppLike, days: float, as_json: bool) -> None:
    found = ask(app, lambda client: estimate(client, days), TIMEOUT)
    click.echo(json.dumps(as_values(found), indent=2) if as_json else "\n".join(lines(found)))


def as_values(found: CostEstimate) -> dict[str, Any]:
    """Return the estimate as JSON shows it."""
    return {
        "namespace": found.namespace,
        "days": found.period.total_seconds() / 86400,
        "actions_a_month": round(found.actions * found.a_month),
        "give_or_take": round(found.error * found.a_month),
        "workflows": found.workflows,
        "histories_read": found.histories,
        "types": [
            {
                "type": each.name,
                "workflows": each.workflows,
                "histories_read": len(each.samples),
                "actions_each": round(each.each, 2),
                "actions_a_month": round(each.actions * found.a_month),
            }
            for each in found.types
        ],
        "other_workflows": found.other_workflows,
        "standalone_activities": found.activities,
        "kinds": {kind: round(number * found.a_month) for kind, number in found.kinds.most_common()},
    }


def lines(found: CostEstimate) -> Iterator[str]:
    """Yield the estimate as text."""
    yield f"namespace {found.namespace}: the workflows since {found.since:%Y-%m-%d %H:%M} UTC, as actions in 30 days"
    if found.is_cut:
        yield f"(this namespace keeps ended workflows for {found.period}, so older ones can't be counted)"
    if found.idle:
        yield (
            f"(no workflow started in the first {found.idle / found.period:.0%} of that time: for a new "
            "application, choose --days so that they begin with it)"
        )
    yield ""
    yield f"{'a month':>14}  {'each':>9}  {'workflows':>10}  {'read':>5}  workflow type"
    for each in found.types[:MOST_TYPES]:
        month = each.actions * found.a_month
        counts = f"{each.workflows:>10,}  {len(each.samples):>5}"
        yield f"{month:>14,.0f}  {each.each:>9,.1f}  {counts}  {one_line(each.name)}"
    rest = found.types[MOST_TYPES:]
    if others := found.other_workflows + sum(each.workflows for each in rest):
        month = (found.other_actions + sum(each.actions for each in rest)) * found.a_month
        yield f"{month:>14,.0f}  {'':>9}  {others:>10,}  {'':>5}  (all other types)"
    if found.activities:
        month = found.activities * found.a_month
        yield f"{month:>14,.0f}  {1:>9}  {found.activities:>10,}  {'':>5}  (activities without a workflow)"
    yield ""
    month, error = found.actions * found.a_month, found.error * found.a_month
    yield f"about {month:,.0f} actions a month, give or take {error:,.0f} for what the sample can't tell"
    total = sum(found.kinds.values())
    if total:
        yield "of which " + ", ".join(f"{number / total:.0%} {kind}" for kind, number in found.kinds.most_common())
    yield f"({found.histories:,} of {found.workflows:,} histories were read.) {LEFT_OUT}"
