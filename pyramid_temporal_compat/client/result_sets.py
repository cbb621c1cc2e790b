"""What is asked of many results together: each workflow's history is read once, also that of a bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from temporalio.client import Client

from .groups import tree_of
from .members import look_at_all, wait_for_all
from .status import Status

Workflows = Mapping[str, Collection[str]]


async def look(client: Client, workflows: Workflows, alike: Workflows) -> tuple[set[str], Mapping[str, Status]]:
    """Those that were asked for, and of them those that have ended.

    :param alike: what `may_be_bundled` has given.
    """
    all_of_them = {**workflows, **await bundles_among(client, alike)}
    ended = await look_at_all(client, all_of_them)
    return {member for members in all_of_them.values() for member in members}, ended


async def wait(client: Client, workflows: Workflows, alike: Workflows, *, all_of: bool) -> Mapping[str, Status]:
    """Wait until they have ended; without `all_of`, until one of them has ended otherwise than well."""
    return await wait_for_all(client, {**workflows, **await bundles_among(client, alike)}, all_of=all_of)


async def bundles_among(client: Client, alike: Workflows) -> Workflows:
    """The bundles that there are, each with those that are in it: delayed tasks, say, have left by themselves."""
    found: dict[str, Collection[str]] = {}
    for bundle, task_ids in alike.items():
        tree = await tree_of(client, bundle)
        if tree is not None and tree.bundle:
            found[bundle] = {message.id for message in tree.messages}.intersection(task_ids)
    return {bundle: members for bundle, members in found.items() if members}
