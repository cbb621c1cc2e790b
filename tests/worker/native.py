"""A workflow and activities written for temporalio, in a file of their own: the workflow sandbox imports it again."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def greeting(name: str) -> str:
    return f"hello {name}"


@activity.defn
def plain_greeting(name: str) -> str:
    return f"plain hello {name}"


@workflow.defn
class Greets:
    @workflow.run
    async def run(self, name: str) -> list[str]:
        limit = timedelta(seconds=20)
        return [
            await workflow.execute_activity(greeting, name, start_to_close_timeout=limit),
            await workflow.execute_activity(plain_greeting, name, start_to_close_timeout=limit),
        ]
