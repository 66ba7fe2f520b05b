"""Pixels of image files that have been decoded before, in the user's cache. Without a usable file there is no hit."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import PIL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nesy_gedi.files import user_cache

LIMIT = 4 * 2**30
"""Bytes of all that is kept; beyond, what was not used for longest is dropped."""

FORMAT = "1"
"""Of what is kept; another way of decoding needs another number."""


def cache_folder() -> Path:
    """Where decoded images are kept."""
    return user_cache() / "decoded"


def path_of(key: str) -> Path:
    """The file of a key."""
    return cache_folder() / f"{key}.safetensors"


def key_of(files: Sequence[Path], root: Path, *options: str) -> str:
    """SHA-256 of where the files are, of their sizes and when they were changed, and of ``options``."""
    digest = hashlib.sha256(json.dumps([FORMAT, PIL.__version__, str(root.resolve()), *options]).encode())
    for path in files:
        try:
            about = path.stat()
            digest.update(json.dumps([os.path.relpath(path, root), about.st_size, about.st_mtime_ns]).encode())
        except OSError:
            digest.update(json.dumps([os.path.relpath(path, root), None, None]).encode())
    return digest.hexdigest()


def load(key: str) -> tuple[dict[str, Tensor], dict[int, str]] | None:
    """What was stored under ``key``; None when there is none, or it is damaged."""
    path = path_of(key)
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if notes["crc32"] != _checksum(tensors):
            return None
        unreadable = {int(number): str(why) for number, why in json.loads(notes["unreadable"]).items()}
        os.utime(path)  # used now, dropped last
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError):
        return None
    return tensors, unreadable


def store(key: str, tensors: Mapping[str, Tensor], unreadable: Mapping[int, str]) -> None:
    """Keep ``tensors`` under ``key``: a whole file, or none where there is no room."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > LIMIT:
        return
    path = path_of(key)
    part = path.with_name(f".{key}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path, size)
        notes = {"crc32": _checksum(tensors), "unreadable": json.dumps(unreadable)}
        try:
            save_file(dict(tensors), part, metadata=notes)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError):
        return  # they are decoded again the next time


def _make_room(new: Path, size: int) -> None:
    kept = [(about.st_mtime_ns, about.st_size, path) for path in new.parent.iterdir() if (about := path.stat())]
    total = size + sum(each for _, each, path in kept if path != new)
    for _, each, path in sorted(kept):
        if total <= LIMIT:
            return
        if path != new:
            path.unlink(missing_ok=True)
            total -= each


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].flatten().numpy().data, zlib.crc32(name.encode(), value))
    return f"{value:08x}"
