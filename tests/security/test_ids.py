"""Ids that users type into an address: whatever they are, the answer is a state."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.exceptions import OperationalError
from tests.security.conftest import PATIENCE, Target


@pytest.mark.parametrize(
    "task_id",
    ["/", "a/", "//", "/x", "x/saved", "..", " ", "%2f", "a\x00b", "a\nb", "a'b\"", "x" * 1001, "x/" * 600, "é" * 501],
    ids=lambda task_id: ascii(task_id)[:20],
)
def test_an_id_that_no_task_has_is_pending(target: Target, task_id: str) -> None:
    result = target.app.AsyncResult(task_id)
    assert (result.state, result.result, result.children, result.args) == ("PENDING", None, None, None)
    result.forget()


def test_an_id_that_no_task_can_have_is_not_revoked_in_silence(target: Target) -> None:
    with pytest.raises(OperationalError, match="exceeds maximum allowed length"):
        target.app.AsyncResult("x" * 1001).revoke()
    with pytest.raises(ValueError, match="surrogates"):
        target.app.AsyncResult("\ud800").state  # noqa: B018


def test_an_id_under_that_of_another_task_has_its_own_result(target: Target) -> None:
    first = target.app.tasks["shop.pack"].delay()
    assert first.get(timeout=PATIENCE) == "packed"
    under = target.app.tasks["shop.fail"].apply_async(("no",), task_id=f"{first.id}/1")
    with pytest.raises(ValueError, match="no"):
        under.get(timeout=PATIENCE)
    assert (first.state, under.state) == ("SUCCESS", "FAILURE")
