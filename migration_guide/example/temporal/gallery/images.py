"""Looks at an image. Stands for the slow part of a real application: a model, a service, a video encoder."""

import struct
from pathlib import PurePath


class UnreadableImage(Exception):
    """The bytes are no image that we know."""


def suggest(name, data):
    """A title and tags for the image `data` that was uploaded as `name`."""
    kind, width, height = _measure(name, data)
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    title = PurePath(name).stem.replace("-", " ").replace("_", " ").capitalize()
    return title, [kind, shape, "large" if width * height >= 1_000_000 else "small"]


def _measure(name, data):
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        kind, (width, height) = "png", struct.unpack(">II", data[16:24])
    elif data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        kind, (width, height) = "gif", struct.unpack("<HH", data[6:10])
    else:
        raise UnreadableImage(f"{name} is neither PNG nor GIF: it starts with {bytes(data[:8])!r}")
    if not width or not height:
        raise UnreadableImage(f"{name} has no pixels: {width} x {height}")
    return kind, width, height
