"""Secrets are hidden in settings that are shown."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.schedules.celery_schedules import crontab
from pyramid_temporal_compat.settings import Settings
from pyramid_temporal_compat.settings.masking import MASK, hidden, is_secret_name, masked, masked_text

NAMES = (
    "credentials pwd bearer cookie sessionid session_id auth private_pem stripe_sk appSk API_KEY apiKey api-key a_p_i "
    "DB_PASSWORD passphrase SENTRY_DSN database_url accessToken JWT_SALT client-secret LDAP_CREDS signing_cert webhook "
    "dbpw adminPw totp access_tok mapbox_pk pepper pincode recovery_codes saml_assertion jwks seed slack_hook"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_a_name_of_a_secret_is_recognised(name: str) -> None:
    assert is_secret_name(name)
    assert masked(name, "hush") == MASK
    assert masked("broker_transport_options", {name: ["hush"], "other": {name: b"hush"}}) == {
        name: MASK,
        "other": {name: MASK},
    }
    assert "hush" not in masked_text(f"x=1 {name}=hush;y=2")
    assert "hush" not in masked_text(f'{{"x": "1", "{name}": "hush with spaces"}}')


@pytest.mark.parametrize("name", ["task", "risk_level", "ask", "queue", "spin", "worker_concurrency", "ssl_ca_certs"])
def test_other_names_are_not_hidden(name: str) -> None:
    assert masked(name, "shown") == "shown"
    assert masked_text(f"{name}=shown") == f"{name}=shown"


@pytest.mark.parametrize(
    "text",
    [
        "redis://:hush@host/0",
        "amqp://user:hush@host;amqp://user:hu/sh@host",
        "https://hush@host/path",
        "user:hush@host:5672",
        "host=db user=u password='hu sh' port=1",
        "https://host/path?x=1&access_token=hush",
        "https://host/path?X-Amz-Signature=hush",
        "url=https://host/path?sig=hush",
        '{"ssl_key_password": "hush", "x": 1',
        "Authorization: Bearer hush",
        "Authorization: Basic hush==",
        "-----BEGIN RSA PRIVATE KEY-----\nhush",
        "eyJhbGciOiJI.hush.hush",
        "sk_live_hush12345678hush",
        "glpat-hush12345678hush",
        "AIzahush12345678hush12345678hush12345678",
        "SG.hush12345678hush.hush12345678",
        "sk-ant-hush12345678hush",
        "https://hooks.slack.com/services/T0/B0/hush12345678",
        "backup --password hush --verbose",
        "Authorization: Negotiate hush",
        "Client(url='x', token='hush')",
    ],
)
def test_a_secret_within_a_text_is_hidden(text: str) -> None:
    assert "hu" not in masked_text(text)
    assert "hu" not in str(masked("broker_url", text))


@pytest.mark.parametrize(
    "text",
    [
        "temporal://localhost:7233",
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "/etc/key.pem",
        "someone@example.com",
        "myapp.auth.tasks.*",
    ],
)
def test_a_text_without_secrets_is_shown(text: str) -> None:
    assert masked_text(text) == text


def test_a_setting_of_the_application_shows_its_name_only() -> None:
    conf = Settings(
        {"MY_SHOP": "hush", "limits": {"a": 4711}, "debug": True, "nothing": None, "task_default_queue": "q"}
    )
    assert conf.table() == {
        "MY_SHOP": MASK,
        "limits": {"a": MASK},
        "debug": True,
        "nothing": None,
        "task_default_queue": "q",
    }
    assert conf.table(censored=False)["MY_SHOP"] == "hush"


def test_arguments_in_a_schedule_are_hidden() -> None:
    entry = {"task": "shop.charge", "schedule": crontab(minute="5"), "args": ("hush",), "kwargs": {"card": "hush"}}
    shown = Settings({"beat_schedule": {"nightly": entry}}).table()["beat_schedule"]["nightly"]
    assert shown == {"task": "shop.charge", "schedule": crontab(minute="5"), "args": MASK, "kwargs": {"card": MASK}}


def test_an_object_is_shown_without_the_secrets_of_its_repr() -> None:
    class Shop:
        def __repr__(self) -> str:
            return "<Shop password='hush' url=https://u:hush@host>"

    assert "hush" not in str(masked("x", {"shop": Shop(), "more": {Shop()}}))
    assert "hush" not in str(masked("x", {"redis://:hush@host": 1}))
    assert hidden({"a": {"b": 5}, "c": [], "d": None}) == {"a": {"b": MASK}, "c": [], "d": None}


def test_every_password_in_a_list_of_servers_is_hidden_and_every_host_is_shown() -> None:
    servers = "sentinel://:hush@h1:26379;sentinel://:hush2@h2:26379/0"
    assert masked_text(servers) == f"sentinel://:{MASK}@h1:26379;sentinel://:{MASK}@h2:26379/0"
