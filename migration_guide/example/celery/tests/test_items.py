import struct

import pytest
from gallery.tasks import analyse_item

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 320, 200)


pytestmark = pytest.mark.usefixtures("worker")


def add(web, name="blue-sea.png", data=PNG, owner="ann@example.org", **options):
    return web.post("/items", {"owner": owner}, upload_files=[("image", name, data)], **options)


def state(web, item):
    return web.get(f"/tasks/{item['task']}").json["state"]


def test_item_is_answered_at_once_and_analysed_later(web, eventually):
    response = add(web)
    assert response.status_code == 201
    assert response.json["status"] == "new"
    for attempt in eventually():
        with attempt:
            item = web.get(f"/items/{response.json['id']}").json
            assert item["status"] == "ready"
            assert item["title"] == "Blue sea"
            assert item["tags"] == ["png", "landscape", "small"]
            assert "How about 'Blue sea', tagged png, landscape, small?" in item["notifications"]


def test_state_and_result_of_the_task_can_be_read(web, eventually):
    item = add(web).json
    for attempt in eventually():
        with attempt:
            assert state(web, item) == "SUCCESS"
    assert web.get(f"/tasks/{item['task']}").json["result"] == {
        "status": "ready",
        "tags": ["png", "landscape", "small"],
    }


def test_unreadable_image_marks_the_item_failed_and_tells_the_owner(web, eventually):
    response = add(web, "torn.png", b"torn")
    for attempt in eventually():
        with attempt:
            item = web.get(f"/items/{response.json['id']}").json
            assert item["status"] == "failed"
            assert item["error"] == "torn.png is neither PNG nor GIF: it starts with b'torn'"
            assert item["notifications"] == [f"We could not read your image: {item['error']}"]


def test_owner_is_reminded_of_a_suggestion(web, eventually):
    response = add(web)
    for attempt in eventually():
        with attempt:
            item = web.get(f"/items/{response.json['id']}").json
            assert "'Blue sea' still waits for your yes." in item["notifications"]


def test_suggestion_is_accepted(web, eventually):
    item = add(web).json
    for attempt in eventually():
        with attempt:
            assert web.post(f"/items/{item['id']}/accept", expect_errors=True).status_code == 200
    assert web.get(f"/items/{item['id']}").json["status"] == "accepted"


def test_item_too_many_is_refused_and_leaves_neither_item_nor_task(web, monkeypatch, eventually):
    enlisted = []
    delay = analyse_item.delay
    monkeypatch.setattr(analyse_item, "delay", lambda *args: enlisted.append(delay(*args)) or enlisted[-1])
    for _ in range(5):
        add(web)
    refused = add(web, status=409, headers={"Accept": "application/json"})
    assert "ann@example.org has 5 items already" in refused.json["message"]

    another = add(web, owner="bob@example.org").json
    for attempt in eventually():
        with attempt:
            assert state(web, another) == "SUCCESS"
    assert [result.state for result in enlisted] == ["SUCCESS"] * 5 + ["PENDING", "SUCCESS"]
    assert len(web.get("/items").json) == 6


def test_form_without_an_image_is_refused(web):
    assert "owner" in web.post("/items", {"owner": "ann@example.org"}, status=400)
