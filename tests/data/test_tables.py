"""Tables of tuples with answers: what they may be, and what is said of those that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import colour, grey, truncated, write

from nesy_gedi.data import UNKNOWN, GivenQueries, ImageSplits, ReadOptions, load_images, sources
from nesy_gedi.data import from_table as read_by_name
from nesy_gedi.errors import DataError, NesyGediWarning


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures, ``0.png`` of level 0 and so on."""
    for k in range(20):
        grey(tmp_path / "data" / f"{k}.png", k)
    return tmp_path / "data"


def pairs(count: int = 10) -> str:
    return "".join(f"{k}.png,{k + 1}.png,{2 * k + 1}\n" for k in range(count))


def given(splits: ImageSplits) -> GivenQueries:
    assert splits.given is not None
    return splits.given


def tuples(splits: ImageSplits) -> dict[str, list[tuple[list[int], tuple[str, ...]]]]:
    """Levels of the images of each row, and its values, by split."""
    found = {}
    for split in ("train", "validation", "test"):
        observed = getattr(given(splits), split)
        images = splits.test if split == "test" else splits.train
        if observed is not None:
            seen = images.images.flatten(1)[:, 0][observed.index]
            found[split] = list(zip(seen.tolist(), observed.values, strict=True))
    return found


def test_without_a_header_columns_go_by_order(folder: Path) -> None:
    splits = load_images(write(folder / "sums.csv", pairs()))
    assert (given(splits).inputs, given(splits).outputs) == ((), ())
    assert given(splits).source == str(folder / "sums.csv")
    assert given(splits).validation is None
    found = tuples(splits)
    assert (len(found["train"]), len(found["test"])) == (8, 2)
    assert sorted(found["train"] + found["test"]) == [([k, k + 1], (str(2 * k + 1),)) for k in range(10)]
    rows = [*given(splits).train.rows, *given(splits).test.rows]
    assert sorted(rows) == list(range(1, 11))
    assert tuples(load_images(folder / "sums.csv")) == found


def test_each_image_is_there_once(folder: Path) -> None:
    splits = load_images(
        write(folder / "same.csv", "split,A,B,v\ntrain,1.png,1.png,2\ntrain,1.png,2.png,3\ntest,1.png,./2.png,3\n")
    )
    assert splits.train.images.flatten(1)[:, 0].tolist() == [1, 2]
    assert splits.test.images.flatten(1)[:, 0].tolist() == [1, 2]
    assert given(splits).train.index.tolist() == [[0, 0], [0, 1]]


def test_a_header_names_variables_and_splits(folder: Path) -> None:
    text = "X,Split,Y,Sum\n0.png,train,1.png,1\n2.png,val,3.png,5\n4.png,Test,5.png,9\n6.png,train,7.png,13\n"
    splits = load_images(write(folder / "a.csv", text))
    assert (given(splits).inputs, given(splits).outputs) == (("X", "Y"), ("Sum",))
    assert tuples(splits) == {
        "train": [([0, 1], ("1",)), ([6, 7], ("13",))],
        "validation": [([2, 3], ("5",))],
        "test": [([4, 5], ("9",))],
    }
    assert given(splits).train.rows == (2, 5)


@pytest.mark.parametrize("file", [False, True])
def test_a_file_for_each_split(folder: Path, file: bool) -> None:
    header = "X,Y,Sum\n"
    write(folder / "train.csv", header + pairs(3))
    write(folder / "test.csv", header + "9.png,8.png,17\n")
    write(folder / "validation.csv", header + "5.png,5.png,10\n")
    splits = read_by_name(folder) if file else load_images(folder)
    assert {split: len(rows) for split, rows in tuples(splits).items()} == {"train": 3, "validation": 1, "test": 1}
    assert splits.name == str(folder)


def test_the_one_table_of_a_folder_is_meant(folder: Path) -> None:
    write(folder / "answers.csv", pairs())
    write(folder / "labels.csv", "3.png,three\n")
    splits = load_images(folder)
    assert len(given(splits).train) + len(given(splits).test) == 10
    labels = splits.train.labels["class"]
    assert labels.classes == ("three",)
    levels = splits.train.images.flatten(1)[:, 0].tolist()
    assert [index for level, index in zip(levels, labels.index.tolist(), strict=True) if level != 3] == [UNKNOWN] * (
        len(levels) - levels.count(3)
    )
    write(folder / "others.csv", pairs())
    with pytest.raises(DataError, match=r"several tables: answers\.csv, others\.csv"):
        load_images(folder)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("X;Y;Sum\n0.png;1.png;1\n2.png;3.png;5\n", "utf-8"),
        ("0.png\t1.png\t1\n2.png\t3.png\t5\n", "utf-8"),
        ("\ufeff0.png,1.png,1\r\n\r\n2.png,3.png,5\r\n", "utf-8"),
        ('# sums\n"0.png", "1.png", 1\n  2.png , 3.png ,5\n,,\n', "utf-8"),
        ("X,Y,Sum\n0.png,1.png,1\n2.png,3.png,5\n", "utf-16"),
        ("0.png,1.png,1\n.\\2.png,3.png,5", "utf-8"),
    ],
)
def test_whatever_wrote_it(text: str, encoding: str, folder: Path) -> None:
    path = folder / "a.csv"
    path.write_bytes(text.encode(encoding))
    found = tuples(load_images(path))
    assert sorted(found["train"] + found["test"]) == [([0, 1], ("1",)), ([2, 3], ("5",))]


def test_values_may_hold_the_separator(folder: Path) -> None:
    found = tuples(load_images(write(folder / "a.csv", '0.png,"[1,2]"\n1.png,"[2,1]"\n2.png,"say ""a"""\n')))
    assert {values for rows in found.values() for _, values in rows} == {("[1,2]",), ("[2,1]",), ('say "a"',)}


def test_inputs_of_several_kinds(folder: Path) -> None:
    for k in range(6):
        colour(folder / "wide" / f"{k}.jpg", (200, 0, k), (3, 9))
        np.save(folder / f"{k}.npy", np.full((2, 3), k, dtype=np.float64))
    rows = "".join(f"{k}.png,{k}.5 2 -1e1,wide/{k}.jpg,{k}.npy,{k}\n" for k in range(6))
    splits = load_images(write(folder / "a.csv", "D,V,W,S,Out\n" + rows))
    assert given(splits).inputs == ("D", "V", "W", "S")
    train = splits.train
    # ordered by the first row: image, vector, wide image, sequence
    assert [tuple(part.shape[1:]) for part in (train.images, *train.others)] == [(1, 4, 4), (3,), (3, 3, 9), (2, 3)]
    observed = given(splits).train
    for column, value in enumerate((lambda k: k, lambda k: k + 0.5, None, lambda k: k)):
        taken = train.take(observed.index[:, column])
        if value is not None:
            assert taken.flatten(1)[:, 0].tolist() == [value(int(row[0])) for row in observed.values]


def test_a_column_of_several_sizes_is_resized_with_others_like_it(folder: Path) -> None:
    for k in range(4):
        grey(folder / f"left{k}.png", k, (6 + k, 8))
        grey(folder / f"right{k}.png", k, (6, 7 + k))
    path = write(folder / "a.csv", "".join(f"left{k}.png,right{k}.png,{k}\n" for k in range(4)))
    splits = load_images(path)
    assert splits.train.others == ()
    assert load_images(path, options=ReadOptions((5, 5))).train.shape == (1, 5, 5)


def test_rows_of_a_skipped_image_are_dropped(folder: Path) -> None:
    truncated(folder / "3.png")
    path = write(folder / "a.csv", pairs())
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_images(path)
    assert caught.value.where == str(folder / "3.png")
    with pytest.warns(NesyGediWarning) as told:
        splits = load_images(path, options=ReadOptions((4, 4), skip_unreadable=True))
    assert any("1 of 11 images cannot be read and are left out: 3.png" in str(each.message) for each in told)
    assert any("2 of 10 rows name images that cannot be read" in str(each.message) for each in told)
    assert splits.reading.dropped == 2
    found = tuples(splits)
    assert (len(found["train"]), len(found["test"])) == (6, 2)
    assert all(2 not in row[0][:0] and 3 not in row[0] for rows in found.values() for row in rows)


def test_a_skipped_image_among_others_of_the_first_shape(folder: Path) -> None:
    """What remains still stands at the right places."""
    (folder / "0.png").write_bytes(b"")
    with pytest.warns(NesyGediWarning):
        splits = load_images(write(folder / "a.csv", pairs()), options=ReadOptions(skip_unreadable=True))
    for rows in tuples(splits).values():
        assert all(int(values[0]) == sum(levels) for levels, values in rows)


GOOD = "0.png,1.png,1\n2.png,3.png,5\n"


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (GOOD + "4.png,50.png,9\n", ":3, column 2", "there is no file '50.png': looked for {folder}/50.png"),
        (GOOD + "4.png,5.pgn,9\n", ":3, column 2", "the nearest name is 5.png"),
        ("X,Y,Sum\n" + GOOD + "4.png,dta/5.png,9\n", ":4, column Y", "there is no folder {folder}/dta"),
        (GOOD + "4.png,,9\n", ":3, column 2", "this cell is empty, expected a file"),
        (GOOD + "4.png,5.png,\n", ":3, column 3", "this cell is empty, expected a value"),
        (GOOD + "4.png,9\n", ":3", '2 columns (separated by ","), expected 3 as in line 1'),
        (GOOD + "4.png,5.png,9,\n", ":3", '4 columns (separated by ","), expected 3'),
        (GOOD + '4.png,"5.png,9\n', ":3", "this row cannot be read"),
        (GOOD + '4.png,"5".png,9\n', ":3", "this row cannot be read"),
        ("X,X,Sum\n" + GOOD, ":1", "two columns are named X"),
        ("X,,Sum\n" + GOOD, ":1", "column 2 has no name"),
        ("X,Y,Sum\n", "", "there is no row below the header"),
        ("", "", "the table has no rows"),
        ("\n# nothing\n", "", "the table has no rows"),
        ("1,2,3\na,b,c\n", ":2", "no column names images or holds vectors: a, b, c"),
        ("0.png,1.png\n2.png,3.png\n", ":1", "no column holds an answer"),
        ("0.png,1.png,1\n", "", "one row is too few"),
        ("X,Y,S,split\n0.png,1.png,1,train\n2.png,3.png,5,tset\n", ":3, column split", "there is no split 'tset'"),
        ("X,Y,S,split\n0.png,1.png,1,train\n2.png,3.png,5,train\n", "", "no row is for the test"),
        ("1 2,3\n4 x,5\n" + "1 2,3\n" * 12, ":1", "no column names images"),
        ("1 2,3\n" * 12 + "4 x,5\n", ":13, column 1", "'4 x' is no vector"),
        (GOOD + "notes.txt,1.png,3\n", ":3, column 1", "'notes.txt' is no image file"),
    ],
)
def test_what_is_said_of_a_broken_table(text: str, where: str, said: str, folder: Path) -> None:
    write(folder / "notes.txt", "")
    path = write(folder / "a.csv", text)
    with pytest.raises(DataError) as caught:
        load_images(path)
    assert caught.value.where == f"{path}{where}"
    assert said.format(folder=folder) in caught.value.message
    assert caught.value.hint


def test_bytes_that_are_no_text(folder: Path) -> None:
    path = folder / "a.csv"
    path.write_bytes(GOOD.encode() + b"4.png,5.png,\xe9\n")
    with pytest.raises(DataError, match="no text in UTF-8: byte 0xe9") as caught:
        load_images(path)
    assert caught.value.where == f"{path}:3"
    path.write_bytes(b"0.png,1.png,\0\n")
    with pytest.raises(DataError, match="zero bytes"):
        load_images(path)
    with pytest.raises(DataError, match="there is no such path"):
        load_images(folder / "b.csv")


def test_tables_of_splits_must_agree(folder: Path) -> None:
    write(folder / "train.csv", "X,Y,Sum\n" + GOOD)
    write(folder / "test.csv", GOOD)
    with pytest.raises(
        DataError,
        match=r"it has 3 columns and no header, expected X, Y, Sum as in train\.csv",
    ):
        load_images(folder)
    write(folder / "test.csv", "X,Y,Sum,split\n0.png,1.png,3,test\n")
    with pytest.raises(DataError, match="this file is for test, and has a column split"):
        load_images(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30.png,3\n", "there is no file '30.png'"),
        ("3.png\n", "expected two columns"),
        ("3.png,a,b\n", "several attributes need their names"),
        ("3.png,a\n3.png,b\n", "3.png is b here and a before"),
    ],
)
def test_what_is_said_of_broken_labels(text: str, said: str, folder: Path) -> None:
    write(folder / "a.csv", pairs())
    write(folder / "labels.csv", text)
    with pytest.raises(DataError) as caught:
        load_images(folder / "a.csv")
    assert said in caught.value.message
    assert str(caught.value.where).startswith(str(folder / "labels.csv"))


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2)), np.array(["a"]), np.array([{}], dtype=object)])
def test_arrays_in_files_that_are_no_points(array: np.ndarray, folder: Path) -> None:
    for k in range(2):
        np.save(folder / f"{k}.npy", array, allow_pickle=array.dtype == object)
    path = write(folder / "a.csv", "0.npy,1\n1.npy,2\n")
    with pytest.raises(DataError) as caught:
        load_images(path)
    assert caught.value.where == f"{path}:1, column 1"
    with pytest.raises(DataError, match="there is no table"):
        read_by_name(folder / "..")
    assert sources.source_name(str(path)) == "a"
