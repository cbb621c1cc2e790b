"""The steps that read and write. Each runs in a transaction of its own, which commits when the step returns."""

from temporalio.exceptions import ApplicationError

from pyramid_temporal_compat import ActivityContext, activity

from .models import Mail, User

TEXTS = {"welcome": "Welcome, {name}!", "follow-up": "{name}, how was your first day?"}


@activity.defn
def process_user(context: ActivityContext, user_id: int) -> str:
    """Give the user a name, and return it."""
    user = find_user(context, user_id)
    name, at, host = user.email.partition("@")
    if not (name and at and host):
        # Another attempt would meet the same address, so the workflow is told at once.
        raise ApplicationError(f"user {user_id} has no mail address: {user.email!r}", non_retryable=True)
    user.name = name.replace(".", " ").title()
    return user.name


@activity.defn
def send_mail(context: ActivityContext, user_id: int, kind: str) -> bool:
    """Send the mail, unless an attempt before this one has sent it; return whether it was sent now."""
    user = find_user(context, user_id)
    if any(mail.kind == kind for mail in user.mails):
        return False
    text = TEXTS[kind].format(name=user.name)
    user.mails.append(Mail(kind=kind, sender=context.settings["onboarding.sender"], text=text))
    return True


def find_user(context: ActivityContext, user_id: int) -> User:
    user: User | None = context.request.dbsession.get(User, user_id)
    if user is None:
        raise ApplicationError(f"there is no user {user_id}", non_retryable=True)
    return user
