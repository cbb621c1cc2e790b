"""Activities are functions: each test calls one with a context, and its transaction is rolled back."""

import pytest
from onboarding.activities import process_user, send_mail
from onboarding.models import User
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment


def test_user_gets_a_name_from_the_address(ptemporal_context, add_user):
    user_id = add_user("ada.lovelace@example.org")
    assert ActivityEnvironment().run(process_user, ptemporal_context, user_id) == "Ada Lovelace"
    assert ptemporal_context.request.dbsession.get(User, user_id).name == "Ada Lovelace"


def test_user_without_an_address_is_not_tried_again(ptemporal_context, add_user):
    user_id = add_user("nobody")
    with pytest.raises(ApplicationError, match="has no mail address: 'nobody'") as caught:
        ActivityEnvironment().run(process_user, ptemporal_context, user_id)
    assert caught.value.non_retryable


def test_unknown_user_is_named(ptemporal_context):
    with pytest.raises(ApplicationError, match="there is no user 404"):
        ActivityEnvironment().run(send_mail, ptemporal_context, 404, "welcome")


def test_second_attempt_sends_no_second_mail(ptemporal_context, add_user):
    user_id = add_user("ada@example.org")
    run = ActivityEnvironment().run
    assert run(send_mail, ptemporal_context, user_id, "welcome")
    assert not run(send_mail, ptemporal_context, user_id, "welcome")
    [mail] = ptemporal_context.request.dbsession.get(User, user_id).mails
    assert mail.sender == "hello@example.org"
