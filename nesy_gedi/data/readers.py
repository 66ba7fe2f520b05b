"""Verified files, or images bundled with a package, to labelled images.

Readers of files take what :func:`nesy_gedi.data.files.verify_files` has accepted.
"""

from __future__ import annotations

import gzip
import math
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch

from nesy_gedi.data.cards import Card
from nesy_gedi.data.files import FoundFiles
from nesy_gedi.data.image_sets import ImageSet, Labels
from nesy_gedi.errors import DataError

# scikit-learn, scipy and torchvision are imported by the one reader that needs each: together they
# cost more than a second, and most commands need none of them.

DIGITS_MAXIMUM = 16  # the brightest grey level of scikit-learn's digits
IDX_UINT8 = 0x08  # the type code of unsigned bytes in an idx file


def read_digits(card: Card) -> ImageSet:
    """scikit-learn's bundled 8x8 digits: all images, grey levels scaled to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / DIGITS_MAXIMUM)).astype(np.uint8)
    return _classified(card, torch.from_numpy(grey[:, None]), digits.target)


def read_mnist(card: Card, found: FoundFiles) -> tuple[ImageSet, ImageSet]:
    """MNIST and its relatives: four gzipped idx files."""
    parts = []
    for prefix in ("train", "t10k"):
        images = read_idx(found.folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(found.folder / f"{prefix}-labels-idx1-ubyte.gz")
        parts.append(_classified(card, torch.from_numpy(images[:, None]), labels))
    return parts[0], parts[1]


def read_svhn(card: Card, found: FoundFiles) -> tuple[ImageSet, ImageSet]:
    """SVHN's two Matlab files, through torchvision."""
    from torchvision.datasets import SVHN

    parts = [SVHN(found.folder, split=split) for split in ("train", "test")]
    train, test = (_classified(card, torch.from_numpy(part.data).contiguous(), part.labels) for part in parts)
    return train, test


def read_cifar(card: Card, found: FoundFiles) -> tuple[ImageSet, ImageSet]:
    """CIFAR, through torchvision.

    The publisher's format is Python's pickle. These are the only pickles ever read, and only the original
    bytes: the archive, or each file from it, has matched its published md5 before this is called.
    """
    import torchvision.datasets
    from torchvision.datasets.utils import extract_archive

    publisher = getattr(torchvision.datasets, str(card.torchvision))
    with tempfile.TemporaryDirectory() as scratch:
        folder = found.folder
        if publisher.filename in found.checksums:
            # not next to the archive: that folder may be read-only
            extract_archive(folder / publisher.filename, scratch)
            folder = Path(scratch)
        parts = [publisher(folder, train=train) for train in (True, False)]
    train, test = (
        _classified(card, torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), part.targets) for part in parts
    )
    return train, test


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in a gzipped idx file.

    Raises:
        DataError: not gzip, not idx, another element type, or more or fewer bytes than the header says.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
        zeros, code, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, offset=4)
    except (OSError, EOFError, struct.error) as error:
        raise _idx_error(path, f"not a gzipped idx file: {error}") from error
    if zeros != 0 or code != IDX_UINT8:
        raise _idx_error(path, f"expected an idx file of unsigned bytes, found magic number {content[:4].hex()}")
    start = 4 + 4 * rank
    if len(content) - start != math.prod(shape):
        raise _idx_error(path, f"the header promises {math.prod(shape)} bytes, found {len(content) - start}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()  # a copy is writable


def _idx_error(path: Path, message: str) -> DataError:
    return DataError(message, where=str(path), hint="delete it and rerun with --download")


def _classified(card: Card, images: torch.Tensor, index: object) -> ImageSet:
    return ImageSet(images, {"class": Labels(card.attributes["class"], torch.as_tensor(index, dtype=torch.int64))})
