"""Trees made at random do on Temporal what they do on Celery with Redis. By hand: `python -m tests.trees 0 300`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .comparing import differences, out_of_order
from .sides import on_celery, on_ours
from .specs import some_tree

# Celery's and its client library's own, of their ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SPECS = {seed: some_tree(seed) for seed in range(80)}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, temporal_address: str) -> Iterator[tuple[Any, Any]]:
    """What is seen of all the trees on either side."""
    directory: Path = tmp_path_factory.mktemp("trees")
    with on_celery(directory) as celery, on_ours(directory, temporal_address) as ours:
        yield celery.run(SPECS), ours.run(SPECS)


@pytest.mark.parametrize("seed", SPECS)
def test_a_tree_ends_as_it_does_in_celery(both: tuple[Any, Any], seed: int) -> None:
    celery, ours = (side[seed] for side in both)
    assert not differences(SPECS[seed], celery, ours)
    assert not out_of_order(SPECS[seed], ours.get("order", ()))
