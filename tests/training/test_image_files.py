"""Files to answers: tables and folders, pixels, threads, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ADDITION, SMALL

from nesy_gedi.data import ImageSplits
from nesy_gedi.data.decoding import read_image
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import image_files
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.image_files import predict_files
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.query_files import FileQueries, folder_queries, single_query, table_queries
from nesy_gedi.training.task import Task

DIGIT = "nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).\nread(X, Y) :- digit(X, Y).\n"
TOLD = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
nn(target_net, [Z], Y, [0..9]) :: target(Z, Y).
next(X, Z) :- digit(X, Y), Z1 is Y + 1, target(Z, Z1).
"""


def predictor_of(text: str, query: str, shape: tuple[int, ...] = (1, 8, 8)) -> Predictor:
    """Over new networks; a target is given."""
    networks = {"target_net": replace(SMALL.networks["digit_net"], observed=True)} if "target" in text else {}
    task = Task(Program(text), replace(SMALL, query=query, networks={**SMALL.networks, **networks}))
    made = make_perceptions(task, shape).eval()
    made["digit_net"].mean.fill_(0.3)  # as of the digits
    made["digit_net"].std.fill_(0.37)
    return Predictor(task, made, make_fabric("cpu", "32-true"))


@pytest.fixture(scope="module")
def sums() -> Predictor:
    return predictor_of(ADDITION, "addition(X, Y, Sum)")


@pytest.fixture(scope="module")
def reader() -> Predictor:
    return predictor_of(DIGIT, "read(X, Y)")


@pytest.fixture
def files(digits: ImageSplits, workplace: Path) -> list[Path]:
    """Ten digits, 0.png to 9.png."""
    for k in range(10):
        Image.fromarray(digits.test.images[k, 0].numpy()).save(f"{k}.png")
    return [Path(f"{k}.png") for k in range(10)]


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_the_pixels(sums: Predictor, files: list[Path], digits: ImageSplits) -> None:
    (part,) = predict_files(sums, FileQueries(tuple(zip(files[:5], files[5:], strict=True))))
    assert part.predictions is not None
    assert part.numbers == (0, 1, 2, 3, 4)
    assert part.skipped == ()
    expected = sums((digits.test.images[:5], digits.test.images[5:10]))
    assert torch.equal(part.predictions.log_p, expected.log_p)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_parts_are_the_whole(sums: Predictor, files: list[Path], monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    queries = FileQueries(tuple((files[k], files[(7 * k + 1) % 10]) for k in range(10)))
    (whole,) = predict_files(sums, queries)
    monkeypatch.setattr(image_files, "QUERIES_AT_ONCE", size)
    monkeypatch.setattr(image_files, "FILES_AT_ONCE", 2)
    parts = list(predict_files(sums, queries))
    assert [number for part in parts for number in part.numbers] == list(range(10))
    assert all(len(part.numbers) <= size for part in parts)
    log_p = torch.cat([part.predictions.log_p for part in parts if part.predictions is not None])
    assert whole.predictions is not None
    assert torch.allclose(log_p, whole.predictions.log_p, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_quick_way_reads_the_same_pixels(channels: int, workplace: Path) -> None:
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (6, 5), np.uint8), rng.integers(0, 256, (6, 5, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(colour).save("colour.png")
    Image.fromarray(colour).save("turned.png", exif=exif)
    Image.fromarray(grey).save("transparent.png", transparency=7)
    Image.fromarray(colour).convert("P").save("palette.png")
    Image.fromarray(np.dstack([colour, grey])).save("alpha.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save("deep.png")
    Image.fromarray(colour).save("colour.jpg")
    for file in Path().glob("*.*g"):
        found = image_files._read(str(file), (channels, 6, 5))
        assert not isinstance(found, str)
        assert np.array_equal(found.pixels, read_image(file, (channels, 6, 5)).numpy()), file


def test_what_was_done_to_images_is_told_once(sums: Predictor, files: list[Path], digits: ImageSplits) -> None:
    small = Image.fromarray(digits.test.images[0, 0].numpy())
    small.resize((16, 12)).save("wide.png")
    small.convert("RGB").save("colour.png")
    Image.fromarray(255 - digits.test.images[1, 0].numpy()).save("swapped.png")
    rows = [("wide.png", "colour.png"), ("0.png", "swapped.png"), ("wide.png", "1.png")]
    with pytest.warns(NesyGediWarning) as told:
        list(predict_files(sums, FileQueries(tuple((Path(a), Path(b)) for a, b in rows))))
    assert [str(each.message).split(":")[0] for each in told] == [
        "2 of 6 images are of another size, 16x12",
        "1 of 6 images are coloured, and made grey for the network",
        "1 of 6 images seem to have dark and bright swapped, compared with the training images; invert them where they do",
    ]


def test_grey_images_for_a_network_of_colours(files: list[Path]) -> None:
    colours = predictor_of(DIGIT, "read(X, Y)", (3, 8, 8))
    with pytest.warns(NesyGediWarning, match="10 of 10 images are grey, and shown to a network of colours"):
        list(predict_files(colours, folder_queries(colours, Path())))


def test_points_are_in_no_image_file(reader: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "shapes", {"X": (64,)})
    with pytest.raises(DataError, match="which no image file has"):
        list(predict_files(reader, FileQueries(((Path("a.png"),),))))


# -- what cannot be read -----------------------------------------------------------------------------------------------


def test_unreadable_images(reader: Predictor, files: list[Path]) -> None:
    Path("4.png").write_bytes(Path("4.png").read_bytes()[:70])
    Path("5.png").write_text("no image")
    Path("6.png").write_bytes(b"")
    queries = folder_queries(reader, Path())
    with pytest.raises(DataError, match="cannot be read") as caught:
        list(predict_files(reader, queries))
    assert caught.value.where == "4.png"
    assert "--skip-unreadable" in str(caught.value.hint)
    (part,) = predict_files(reader, queries, skip_unreadable=True)
    assert part.numbers == (0, 1, 2, 3, 7, 8, 9)
    assert len(part.predictions or ()) == 7
    assert [(each.number, each.reason) for each in part.skipped[1:]] == [
        (5, "5.png: this is no image that can be read"),
        (6, "6.png: the file is empty"),
    ]


def test_a_query_is_left_out_with_one_of_its_images(sums: Predictor, files: list[Path]) -> None:
    rows = FileQueries(((files[0], Path("none.png")), (files[1], files[2]), (Path(), files[2])), where=("t:1",) * 3)
    (part,) = predict_files(sums, rows, skip_unreadable=True)
    assert part.files == ((files[1], files[2]),)
    assert [each.reason for each in part.skipped] == ["none.png: there is no such file", ".: this is a folder"]
    with pytest.raises(DataError) as caught:
        list(predict_files(sums, rows))
    assert caught.value.where == "none.png (t:1)"


def test_nothing_can_be_read(sums: Predictor) -> None:
    (part,) = predict_files(sums, FileQueries(((Path("a.png"), Path("b.png")),)), skip_unreadable=True)
    assert part.predictions is None
    assert part.numbers == ()
    assert len(part.skipped) == 1


# -- queries -----------------------------------------------------------------------------------------------------------


def test_a_query_names_a_file_for_each_slot(sums: Predictor, reader: Predictor) -> None:
    with pytest.raises(UsageError, match="takes 2 images, one each for X, Y; 3 given"):
        single_query(sums, [Path("a"), Path("b"), Path("c")])
    with pytest.raises(UsageError, match="takes 1 image, for X; 0 given"):
        single_query(reader, [])


def test_folders(sums: Predictor, reader: Predictor, files: list[Path]) -> None:
    for name in ("below/b.JPG", ".hidden/c.png", "below/.d.png", "below/e.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("empty").mkdir()
    found = folder_queries(reader, Path())
    assert found.files == (*((file,) for file in files), (Path("below/b.JPG"),))
    with pytest.raises(UsageError, match="does not say which belong together"):
        folder_queries(sums, Path())
    with pytest.raises(UsageError, match="no such folder"):
        folder_queries(reader, Path("nothing"))
    with pytest.raises(UsageError, match="this is a file"):
        folder_queries(reader, files[0])
    with pytest.raises(DataError, match="no image in this folder"):
        folder_queries(reader, Path("empty"))


def table(text: str) -> Path:
    path = Path("tables/t.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_tables(sums: Predictor, workplace: Path) -> None:
    a, b = Path("tables/a.png"), Path("tables/../b.png")
    plain = table_queries(sums, table("a.png,../b.png\n../b.png,a.png\n"))
    assert plain.files == ((a, b), (b, a))
    assert plain.where == ("tables/t.csv:1", "tables/t.csv:2")
    named = table_queries(sums, table("\ufeffY, X\n\n../b.png, a.png\n"))
    assert named.files == ((a, b),)
    assert named.where == ("tables/t.csv:3",)
    assert named.given == {}
    for separator in ";\t":  # as training takes them
        assert table_queries(sums, table(f"X{separator}Y\n# a remark\na.png{separator}../b.png\n")).files == ((a, b),)
    with pytest.warns(NesyGediWarning, match="not used: Sum, id"):
        assert table_queries(sums, table("Sum,X,Y,id\n7,a.png,../b.png,0\n")).files == ((a, b),)
    with pytest.warns(NesyGediWarning, match="not used: number 3"):
        assert table_queries(sums, table("a.png,../b.png,7\n")).files == ((a, b),)


def test_tables_may_give_values(files: list[Path], workplace: Path) -> None:
    told = predictor_of(TOLD, "next(X, Z)")
    for text in ("X,Z\n../3.png,4\n../3.png,9\n", "../3.png,4\n../3.png,9\n"):
        queries = table_queries(told, table(text))
        assert queries.given == {"Z": ("4", "9")}
        (part,) = predict_files(told, queries)
        assert part.predictions is not None
        assert part.predictions.values.tolist() == [[4], [9]]
    assert table_queries(told, table("X\n../3.png\n")).given == {}
    with pytest.raises(UsageError, match="given for all queries and in the table"):
        list(predict_files(told, queries, given={"Z": "1"}))
    (part,) = predict_files(told, table_queries(told, table("../3.png\n")), given={"Z": "5"})
    assert part.predictions is not None
    assert part.predictions.values.tolist() == [[5]]


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("X\na.png\n", "there is no column Y", ":1"),
        ("X,Y,X\na.png,b.png,c.png\n", "two columns X", ":1"),
        ("left,right\na.png,b.png\n", "expected a line that names the columns X, Y", ":1"),
        ("a.png\n", "expected a line that names the columns X, Y", ":1"),
        ("X,Y\na.png,b.png\na.png,\n", "nothing for Y", ":3"),
        ("X,Y\na.png\n", "1 columns .* expected 2", ":2"),
        ("X,Y\n", "no row below the header", ""),
        ("", "the table has no rows", ""),
    ],
    ids=["column", "twice", "names", "narrow", "cell", "short", "header", "empty"],
)
def test_tables_that_say_too_little(sums: Predictor, workplace: Path, text: str, said: str, where: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        table_queries(sums, table(text))
    assert caught.value.where == f"tables/t.csv{where}"


def test_tables_are_written_as_those_of_training(sums: Predictor, workplace: Path) -> None:
    """What a program of office work saves: other separators and encodings, and notes."""
    expected = table_queries(sums, table("Y,X\nb.png,a.png\n"))
    for text, encoding in (
        ("Y;X\nb.png;a.png\n", "utf-8-sig"),
        ("# of today\n\nY\tX\nb.png\ta.png\n", "utf-8"),
        ("Y,X\nb.png,a.png\n", "utf-16"),
    ):
        Path("tables/t.csv").write_text(text, encoding=encoding)
        assert table_queries(sums, Path("tables/t.csv")).files == expected.files


def test_what_is_no_table(sums: Predictor, workplace: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        table_queries(sums, Path("none.csv"))
    Path("t.csv").write_bytes(b"X,Y\n\xff\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        table_queries(sums, Path("t.csv"))
