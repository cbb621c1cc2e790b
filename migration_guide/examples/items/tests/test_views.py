"""Views: `ptemporal_dispatched` records what leaves with the commit, and keeps it from the server."""


def test_item_without_an_image_starts_nothing(web, ptemporal_dispatched):
    web.post("/items", {"owner": "ann@example.org"}, status=400)
    assert not ptemporal_dispatched.names


def test_view_calls_the_task_as_before(web, ptemporal_dispatched, png):
    item = web.post("/items", {"owner": "ann@example.org"}, upload_files=[("image", "sea.png", png)]).json["item"]
    [call] = ptemporal_dispatched
    assert (call.task, call.args) == ("items.tasks.process_item_images", (item,))


def test_batch_is_one_workflow(web, ptemporal_dispatched):
    web.post("/batches", [("item", "1"), ("item", "2")])
    [start] = ptemporal_dispatched.workflows
    assert (start.name, start.args) == ("ProcessItems", ([1, 2], 4))
