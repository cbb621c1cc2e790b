"""How ids are made, and which workflow they name."""

from __future__ import annotations

import uuid

from pyramid_temporal_compat.message import ids

TASK_ID = "00000000-0000-4000-8000-00000000abcd"


def test_new_task_id_is_a_uuid_that_is_not_its_own_bundle() -> None:
    made = ids.new_id()
    assert str(uuid.UUID(made)) == made
    assert ids.bundle_of(made) != made


def test_new_task_ids_are_random_uuids_of_version_4() -> None:
    made = [uuid.UUID(ids.new_id()) for _ in range(100)]
    assert {(each.version, each.variant) for each in made} == {(4, uuid.RFC_4122)}
    assert len({*made}) == 100


def test_ids_of_one_bundle_name_that_bundle() -> None:
    bundle = ids.bundle_of(TASK_ID)
    assert bundle == "00000000-0000-4000-8000-000000000000"
    assert {ids.bundle_of(ids.id_in_bundle(bundle, number)) for number in (1, 999)} == {bundle}
    assert ids.id_in_bundle(bundle, 0) == bundle


def test_ids_that_are_no_uuid_name_no_bundle() -> None:
    assert [ids.bundle_of(each) for each in ("order-7", "x" * 36, f"{TASK_ID}/1", "")] == [""] * 4


def test_few_tasks_are_not_worth_a_search_for_their_bundle() -> None:
    bundle = ids.bundle_of(TASK_ID)
    several = [ids.id_in_bundle(bundle, number) for number in range(1, ids.FEW + 2)]
    assert ids.possible_bundles(several[: ids.FEW]) == {}
    assert ids.possible_bundles([*several, "order-7"]) == {bundle: several}


def test_member_and_batch_ids_name_their_workflow() -> None:
    member = ids.member_id(ids.batch_id("w", 2), 7)
    assert member == "w/b2/7"
    assert ids.workflow_of(member) == "w/b2"
    assert ids.workflow_of("w/b2") == "w"
    assert ids.workflow_of("w") == ""
    assert (ids.root_of(member), ids.root_of("w")) == ("w", "w")
    assert ids.is_batch_below("w/b2", "w")
    assert not ids.is_batch_below("w/2", "w")


def test_member_that_joins_a_running_canvas_has_a_token_in_its_id() -> None:
    token = ids.new_token()
    assert ids.member_id("w", 1, token) == f"w/{token}1"
    assert ids.workflow_of(ids.member_id("w", 1, token)) == "w"
    assert ids.new_token() != token


def test_ids_below_a_workflow_are_found_at_any_depth() -> None:
    several = ["w", "w/1", "w/b1/4", "w2/1", "other"]
    assert [each for each in several if ids.is_below(each, "w")] == ["w/1", "w/b1/4"]
    assert ids.select_below(several, "w") == ["w", "w/1", "w/b1/4"]


def test_prefix_stands_for_all_members_and_is_no_members_id() -> None:
    assert "w/b1/4".startswith(ids.prefix_of("w/b1"))
    assert ids.is_prefix(ids.prefix_of("w/b1"))
    assert not ids.is_prefix("w/b1")
