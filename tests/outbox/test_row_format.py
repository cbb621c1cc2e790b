"""The content of a row is encoded as on the wire, and later releases can read it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import InvalidTaskError, SecurityError
from pyramid_temporal_compat.message import message
from pyramid_temporal_compat.outbox import row_format
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.payload.codecs import Encryption, chain
from tests.enlist.application import analyse
from tests.outbox.parts import OutboxSite, running, without_dispatch
from tests.outbox.record_rows import CODEC, FOLDER, units

PLAIN = chain(())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("version_*.json")), ids=lambda path: path.stem)
def test_a_row_of_every_version_is_read(path: Path) -> None:
    assert row_format.decode_units(path.read_bytes(), CODEC) == units()


def test_rows_are_written_like_the_recorded_rows_of_their_version() -> None:
    recorded = (FOLDER / f"version_{row_format.VERSION}_plain.json").read_bytes()
    assert json.loads(row_format.encode_units(units(), PLAIN))["units"] == json.loads(recorded)["units"]


def test_a_row_is_at_least_as_new_as_its_messages() -> None:
    assert row_format.VERSION >= message.VERSION


def test_a_row_that_was_changed_is_refused() -> None:
    data = row_format.encode_units(units(), PLAIN)
    for changed in (
        data[:-1],
        data.replace(b'"ptemporal\\":1', b'"other\\":1'),
        data.replace(b'"metadata"', b'"data"'),
    ):
        with pytest.raises(InvalidTaskError):
            row_format.decode_units(changed, PLAIN)
    sealed = row_format.encode_units(units(), CODEC)
    with pytest.raises(SecurityError):
        row_format.decode_units(sealed, chain([Encryption({"old": os.urandom(32)})]))


def test_the_row_is_encrypted_if_payloads_are(outbox_database: str, temporal_address: str) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    site = OutboxSite(outbox_database, temporal_address, **{"ptemporal.encryption_keys": f"one:{key}"})
    site.clear()

    def view(request: Any) -> Any:
        return analyse.delay("a secret")

    try:
        with without_dispatch():
            task = site.visit(view)
        (row,) = site.rows()
        assert b"binary/encrypted" in row.units
        assert b"secret" not in row.units
        assert task.id.encode() not in row.units
        site.hurry()
        with running(Relay(site.app)):
            site.is_empty()
        assert site.has_started(task)
    finally:
        site.close()
