"""Views: `ptemporal_dispatched` records what leaves with the commit, and keeps it from the server."""


def test_onboarding_starts_with_the_commit(web, ptemporal_dispatched):
    answer = web.post("/users", {"email": "ada@example.org"}).json
    [start] = ptemporal_dispatched.workflows
    assert (start.name, start.args) == ("OnboardUser", (answer["user"],))


def test_refused_address_starts_nothing(web, ptemporal_dispatched):
    web.post("/users", {"email": ""}, status=400)
    web.post("/batches", [("email", "ada@example.org"), ("email", "")], status=400)
    assert ptemporal_dispatched.workflows == []


def test_batch_is_one_workflow(web, ptemporal_dispatched):
    answer = web.post("/batches", [("email", "ada@example.org"), ("email", "bob@example.org")]).json
    [start] = ptemporal_dispatched.workflows
    assert (start.name, start.args) == ("OnboardUsers", (answer["users"],))
