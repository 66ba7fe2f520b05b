"""Image files of every kind: modes, sizes, orientation, transparency, damage; and what is kept of them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import colour, grey, truncated
from PIL import Image

from nesy_gedi.data import ReadOptions, decoded_cache, read_image
from nesy_gedi.data.decoding import LONGEST_SIDE, SUFFIXES, DecodedFiles, decode_files, shape_fault
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError


def decode(*files: Path, shape: tuple[int, ...] = (), skip: bool = False) -> DecodedFiles:
    return decode_files(files, files[0].parent, ReadOptions(shape, skip))


def pixels(*files: Path, shape: tuple[int, ...] = ()) -> torch.Tensor:
    (part,) = decode(*files, shape=shape).parts
    return part


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file(suffix: str, tmp_path: Path) -> None:
    image = pixels(grey(tmp_path / f"a{suffix.upper()}", 100))
    assert image.shape[1:] in ((1, 4, 4), (3, 4, 4))  # WebP knows no grey
    assert (image.int() - 100).abs().max() <= 2


def test_one_size_is_kept_and_many_become_the_median(tmp_path: Path) -> None:
    same = [grey(tmp_path / f"{k}.png", k, (5, 7)) for k in range(3)]
    assert pixels(*same).shape == (3, 1, 5, 7)
    assert pixels(*same)[:, 0, 0, 0].tolist() == [0, 1, 2]
    varied = [grey(tmp_path / f"varied{k}.png", k, size) for k, size in enumerate([(4, 9), (6, 8), (20, 7)])]
    assert pixels(*varied).shape == (3, 1, 6, 8)


def test_large_images_are_shrunk_with_their_aspect(tmp_path: Path) -> None:
    large = grey(tmp_path / "large.png", 7, (100, 200))
    assert pixels(large).shape == (1, 1, LONGEST_SIDE // 2, LONGEST_SIDE)
    assert pixels(large, shape=(3, 10, 10)).shape == (1, 3, 10, 10)
    assert pixels(large, shape=(90, 90)).shape == (1, 1, 90, 90)


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    shrunk = pixels(tmp_path / "stripes.png", shape=(8, 8)).float()
    assert (shrunk - 127.5).abs().max() < 12  # picking pixels would leave black or white


def test_grey_unless_one_is_coloured(tmp_path: Path) -> None:
    files = [grey(tmp_path / "a.png", 50), colour(tmp_path / "b.png", (200, 10, 30))]
    assert pixels(files[0]).shape[1] == 1
    both = pixels(*files)
    assert both[:, :, 0, 0].tolist() == [[50, 50, 50], [200, 10, 30]]
    assert pixels(*files, shape=(1, 4, 4))[1, 0, 0, 0] == round(0.299 * 200 + 0.587 * 10 + 0.114 * 30)


def test_transparency_is_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("LA", (2, 2), (0, 128)).save(tmp_path / "half.png")
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "palette.gif", transparency=1)
    assert pixels(tmp_path / "clear.png")[0, :, 0, 0].tolist() == [255, 255, 255]
    assert abs(int(pixels(tmp_path / "half.png")[0, 0, 0, 0]) - 127) <= 1
    assert pixels(tmp_path / "palette.gif").unique().tolist() == [255]


def test_palettes_of_greys_and_of_colours(tmp_path: Path) -> None:
    for name, entry in (("grey", [0, 0, 0, 77, 77, 77]), ("colour", [0, 0, 0, 77, 0, 99])):
        image = Image.new("P", (3, 3), 1)
        image.putpalette(entry)
        image.save(tmp_path / f"{name}.png")
    assert pixels(tmp_path / "grey.png")[0, :, 0, 0].tolist() == [77]
    assert pixels(tmp_path / "colour.png")[0, :, 0, 0].tolist() == [77, 0, 99]


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(levels).save(tmp_path / f"deep.{suffix}")
        assert pixels(tmp_path / f"deep.{suffix}").flatten().tolist() == [0, 1, 128, 255]


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8).repeat(8, 0).repeat(4, 1))  # 8 high, 8 wide
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise
    image.crop((0, 0, 8, 4)).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = pixels(tmp_path / "turned.jpg")
    assert upright.shape == (1, 1, 8, 4)
    assert upright[0, 0, 1].max() < 30 < 225 < upright[0, 0, 6].min()


def test_floating_point_pixels_are_no_grey_levels(tmp_path: Path) -> None:
    Image.fromarray(np.ones((3, 3), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match="floating-point numbers, expected 8 or 16 bits"):
        decode(tmp_path / "float.tiff")


def test_an_unreadable_image_is_named_with_how_many_more(tmp_path: Path) -> None:
    files = [grey(tmp_path / f"{k}.png", k, (30, 30)) for k in range(20)]
    files[3].write_bytes(b"no image")
    files[7].write_bytes(b"")
    truncated(files[11])
    with pytest.raises(DataError) as caught:
        decode(*files)
    assert caught.value.where == str(files[3])
    assert "no image that can be read; nor can 2 more of the 20 files" in caught.value.message
    assert "--set data.skip_unreadable=true" in str(caught.value.hint)


def test_what_cannot_be_read_is_left_out_on_request(tmp_path: Path) -> None:
    files = [grey(tmp_path / f"{k}.png", k, (30, 30)) for k in range(6)]
    truncated(files[2])
    for _ in range(2):  # also when the others come from the cache
        with pytest.warns(NesyGediWarning, match=r"1 of 6 images cannot be read and are left out: 2\.png"):
            found = decode(*files, skip=True)
        assert found.skipped == ("2.png",)
        assert found.row.tolist() == [0, 1, -1, 2, 3, 4]
        assert found.parts[0][:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5]
    with pytest.raises(DataError, match="cannot be read"):
        decode(*files)


def test_nothing_readable_is_an_error_even_on_request(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no image that can be read"):
        decode(tmp_path / "a.png", skip=True)


@pytest.mark.parametrize("shape", [(0, 5), (5,), (2, 5, 5), (1, 2, 3, 4), (4, 8, 8)])
def test_impossible_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="must be"):
        ReadOptions(shape)
    assert shape_fault((3, 8, 9)) is shape_fault((8, 9)) is shape_fault(()) is None


def test_columns_have_shapes_of_their_own(tmp_path: Path) -> None:
    """Two sizes stay two; a column of several sizes does not touch the others; columns that share a file are one."""
    small = [grey(tmp_path / f"small{k}.png", k, (4, 4)) for k in range(2)]
    wide = [grey(tmp_path / f"wide{k}.png", k, (3, 9)) for k in range(2)]
    varied = [
        grey(tmp_path / "v0.png", 5, (6, 6)),
        grey(tmp_path / "v1.png", 6, (8, 8)),
        grey(tmp_path / "v2.png", 7, (8, 9)),
    ]
    files = [*small, *wide, *varied]
    columns = [[0, 1], [2, 3], [4, 5, 6]]
    found = decode_files(files, tmp_path, ReadOptions(), columns=columns)
    assert [tuple(part.shape) for part in found.parts] == [(2, 1, 4, 4), (2, 1, 3, 9), (3, 1, 8, 8)]
    assert found.kind.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert found.row.tolist() == [0, 1, 0, 1, 0, 1, 2]
    joined = decode_files(files, tmp_path, ReadOptions(), columns=[[0, 1, 2], [2, 3], [4, 5, 6]])
    assert len(joined.parts) == 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = grey(tmp_path / "a.png", 10)
    first = decode(path)
    assert first.cache.is_file()
    assert first.cache.parent == decoded_cache.cache_folder()
    grey(path, 200)
    os.utime(path, ns=(1, 1))
    assert decode(path).parts[0].unique().tolist() == [200]


def test_the_cache_is_believed_when_it_is_whole(tmp_path: Path) -> None:
    path = grey(tmp_path / "a.png", 10)
    about = path.stat()
    cache = decode(path).cache
    grey(path, 12)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    assert decode(path).parts[0].unique().tolist() == [10]  # nothing says that the file has changed
    content = bytearray(cache.read_bytes())
    content[-1] ^= 0xFF
    for damaged in (bytes(content), content[: len(content) // 2], b""):
        cache.write_bytes(damaged)
        assert decode(path).parts[0].unique().tolist() == [12]
        assert cache.read_bytes() != damaged
        assert decoded_cache.load(cache.stem) is not None


def test_the_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [grey(tmp_path / f"{k}.png", k, (40, 40)) for k in range(4)]
    caches = [decode(path).cache for path in files[:3]]
    for k, cache in enumerate(caches):
        os.utime(cache, ns=(k, k))
    decode(files[0])  # used now
    monkeypatch.setattr(decoded_cache, "LIMIT", 3 * caches[0].stat().st_size)
    decode(files[3])
    kept = set(decoded_cache.cache_folder().iterdir())
    assert caches[0] in kept
    assert caches[1] not in kept
    monkeypatch.setattr(decoded_cache, "LIMIT", 10)
    fifth = decode(grey(tmp_path / "5.png", 5, (40, 40)))
    assert not fifth.cache.exists()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(grey(tmp_path / "a.png", 3)).unique().tolist() == [3]


def test_one_file_for_a_network(tmp_path: Path) -> None:
    path = colour(tmp_path / "a.png", (255, 0, 0), (9, 9))
    assert read_image(path, (1, 5, 6)).shape == (1, 5, 6)
    assert read_image(path, (3, 5, 6))[:, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(DataError, match="there is no such file"):
        read_image(tmp_path / "b.png", (1, 5, 6))
