"""Workflows run on a real server, which skips their timers: a day takes no time."""

from onboarding.models import User
from onboarding.workflows import OnboardUser, OnboardUsers


def test_user_gets_two_mails_a_day_apart(ptemporal_time_skipping, worker, ptemporal_context, add_user):
    user_id = add_user("ada@example.org")
    ptemporal_context.tm.commit()

    assert worker.execute(OnboardUser.run, user_id) == "Ada"

    ptemporal_context.tm.begin()
    user = ptemporal_context.request.dbsession.get(User, user_id)
    assert [mail.text for mail in user.mails] == ["Welcome, Ada!", "Ada, how was your first day?"]


def test_user_who_fails_does_not_stop_the_batch(ptemporal_time_skipping, worker, ptemporal_context, add_user):
    ids = [add_user(email) for email in ("ada@example.org", "nobody", "bob@example.org")]
    ptemporal_context.tm.commit()

    batch = worker.execute(OnboardUsers.run, ids)

    assert batch.onboarded == [ids[0], ids[2]]
    assert batch.failed == [ids[1]]
