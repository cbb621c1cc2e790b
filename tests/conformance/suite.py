"""Fetch Celery's source distribution with pip into `.cache/`, and unpack its integration suite."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "conformance"
VERSION = "5.7.0"
SHA256 = "6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0"
CANVAS = ("test_canvas.py", "test_group_chains.py")
"""The files of the suite that are about canvases."""
FILES = (
    "test_tasks.py",
    "test_inspect.py",
    "test_worker.py",
    "test_serialization.py",
    "test_loader.py",
    "test_security.py",
    *CANVAS,
)
"""The files of the suite that are about tasks, workers and canvases."""

PARTS = ("__init__.py", "canvas_helpers.py", "integration/")
"""The parts of `t` that are unpacked."""


def unpacked() -> Path:
    """Return the directory that holds Celery's `t` package."""
    directory = CACHE / f"celery-{VERSION}"
    if not (directory / "t" / "canvas_helpers.py").is_file():
        shutil.rmtree(directory, ignore_errors=True)
        archive = downloaded()
        with tarfile.open(archive) as tar:
            top = f"celery-{VERSION}/"
            wanted = [
                member
                for member in tar.getmembers()
                if member.isfile() and member.name.startswith(tuple(f"{top}t/{part}" for part in PARTS))
            ]
            tar.extractall(CACHE, wanted, filter="data")
    return directory


def downloaded() -> Path:
    archive = CACHE / f"celery-{VERSION}.tar.gz"
    if not archive.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery"]
        subprocess.run([*command, f"celery=={VERSION}", "--dest", str(CACHE)], check=True)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        archive.unlink()
        raise SystemExit(f"{archive.name}: its sha256 is {found}, not {SHA256}; it was deleted, try again")
    return archive
