"""The whole system, configured by the environment: a web request, and a worker in a process of its own."""

import time

import pytest


@pytest.mark.usefixtures("worker_process")
def test_new_user_is_welcomed(web):
    answer = web.post("/users", {"email": "ada@example.org"}).json
    deadline = time.monotonic() + 60
    while (user := web.get(f"/users/{answer['user']}").json)["mails"] != ["welcome"]:
        assert time.monotonic() < deadline, user
        time.sleep(0.05)
    assert user["name"] == "Ada"
