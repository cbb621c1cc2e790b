"""Looks at an image. Stands for the slow part of a real application: a model, a service, a video encoder."""

import struct
from dataclasses import dataclass
from pathlib import PurePath

PNG = b"\x89PNG\r\n\x1a\n"


class UnreadableImage(Exception):
    """The bytes are no image that we know."""


@dataclass
class Analysis:
    title: str
    shape: str


def analyse(name: str, data: bytes) -> Analysis:
    if not data.startswith(PNG) or len(data) < 24:
        raise UnreadableImage(f"{name} is no PNG: it starts with {data[:8]!r}")
    width, height = struct.unpack(">II", data[16:24])
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    return Analysis(PurePath(name).stem.replace("-", " ").capitalize(), shape)
