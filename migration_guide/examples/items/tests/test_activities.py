"""Each test calls an activity with a context, and its transaction is rolled back."""

import pytest
from items.activities import analyse_image, finish_item, mark_image_failed, write_suggestion
from items.images import Analysis
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

run = ActivityEnvironment().run


def test_image_is_analysed_and_gets_a_suggestion(ptemporal_context, add_item, png):
    [image] = add_item(blue_sea=png).images
    analysis = run(analyse_image, ptemporal_context, image.id)
    assert analysis == Analysis("Blue_sea", "landscape")
    run(write_suggestion, ptemporal_context, image.id, analysis)
    assert (image.status, image.suggestion) == ("ready", "Blue_sea (landscape)")


def test_unreadable_image_is_not_tried_again(ptemporal_context, add_item):
    [image] = add_item(torn=b"torn").images
    with pytest.raises(ApplicationError, match=r"torn\.png is no PNG: it starts with b'torn'") as caught:
        run(analyse_image, ptemporal_context, image.id)
    assert caught.value.non_retryable


def test_second_attempt_does_not_tell_the_owner_twice(ptemporal_context, add_item, png):
    item = add_item(sea=png, torn=b"torn")
    run(write_suggestion, ptemporal_context, item.images[0].id, Analysis("Sea", "landscape"))
    run(mark_image_failed, ptemporal_context, item.images[1].id, "no PNG")
    run(finish_item, ptemporal_context, item.id, "ready")
    run(finish_item, ptemporal_context, item.id, "ready")
    [notification] = item.notifications
    assert notification.text == f"Item {item.id} is ready: 1 of 2 images have a suggestion."
