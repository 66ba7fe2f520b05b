"""Checkpoints: whole or not at all, and never a pickle."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_json, write_text
from nesy_gedi.training import checkpoints
from nesy_gedi.training.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
)


def checkpoint(value: float, **state: Any) -> Checkpoint:
    return Checkpoint({"net.weight": torch.full((40, 40), value)}, {"0.step": torch.tensor(value)}, state)


def value_of(folder: CheckpointFolder, which: str) -> float:
    return float(folder.load(which).model["net.weight"][0, 0])


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


def names(folder: CheckpointFolder) -> set[str]:
    return {path.name for path in folder.folder.iterdir()}


def test_what_is_saved_loads_again(folder: CheckpointFolder) -> None:
    state = {"epoch": 3, "loss": 0.1 + 0.2, "best_loss": float("inf"), "seconds": {"logic": 1.5}}
    saved = Checkpoint(
        {"net.w": torch.randn(3, 4).T, "net.n": torch.tensor(7), "t.logits": torch.randn(2).double()},
        {"0.exp_avg": torch.randn(2, 3).bfloat16(), "rng": torch.get_rng_state()},
        dict(state),
    )
    folder.save("one", saved, best=True)
    found = folder.load("last")
    assert found.state == state
    for before, after in ((saved.model, found.model), (saved.optimizer, found.optimizer)):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_tied_weights_are_saved(folder: CheckpointFolder) -> None:
    weight = torch.randn(3, 3)
    folder.save("one", Checkpoint({"a": weight, "b": weight, "c": weight[:2]}, {}, {}), best=False)
    assert torch.equal(folder.load("last").model["c"], weight[:2])


def test_only_last_and_best_are_kept(folder: CheckpointFolder) -> None:
    for value, best in ((1, False), (2, True), (3, False), (4, False)):
        folder.save(f"number-{value}", checkpoint(value), best=best)
    assert names(folder) == {"index.json", "number-2", "number-4"}
    assert (value_of(folder, "best"), value_of(folder, "last")) == (2, 4)
    folder.save("number-5", checkpoint(5), best=True)
    assert names(folder) == {"index.json", "number-5"}
    assert (value_of(folder, "best"), value_of(folder, "last")) == (5, 5)


def test_nothing_is_pickled(folder: CheckpointFolder) -> None:
    folder.save("one", checkpoint(1.0), best=True)
    files = [path for path in folder.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        assert b"torch" not in content  # a pickled tensor names its class
        assert content[:1] != b"\x80"
        assert content[:2] != b"PK"  # torch.save writes a zip archive


def test_there_is_none(folder: CheckpointFolder) -> None:
    assert not folder.has("last")
    with pytest.raises(RunError, match="the run has no best checkpoint"):
        folder.load("best")
    folder.save("one", checkpoint(1), best=False)
    assert (folder.has("last"), folder.has("best")) == (True, False)
    with pytest.raises(RunError, match="the run has no best checkpoint") as caught:
        folder.load("best")
    assert caught.value.hint


# -- a crash -----------------------------------------------------------------------------------------------------------

STEPS = ["model", "optimizer", "state", "rename", "index"]
"""Where a crash may come while a checkpoint is written, in order."""


class Crash(BaseException):
    """Like a kill, nothing in the library catches it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Half-write what the step writes, then crash."""
    save_file, replace, write = checkpoints.save_file, os.replace, checkpoints.write_json

    def saving(tensors: dict[str, Tensor], path: Path) -> None:
        save_file(tensors, path)
        if path.name == f"{step}.safetensors":
            path.write_bytes(path.read_bytes()[:50])
            raise Crash

    def writing(path: Path, content: Any) -> None:
        if path.name == f"{step}.json":
            path.with_name(f".{path.name}.part").write_text("{", encoding="utf-8")
            raise Crash
        write(path, content)

    def renaming(source: Path, target: Path) -> None:
        if step == "rename" and Path(source).is_dir():
            raise Crash
        replace(source, target)

    monkeypatch.setattr(checkpoints, "save_file", saving)
    monkeypatch.setattr(checkpoints, "write_json", writing)
    monkeypatch.setattr(os, "replace", renaming)


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_the_checkpoints_are_the_old_ones(folder: CheckpointFolder, step: str) -> None:
    folder.save("one", checkpoint(1), best=True)
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(Crash):
            folder.save("two", checkpoint(2), best=True)
    assert (value_of(folder, "best"), value_of(folder, "last")) == (1, 1)
    folder.save("two", checkpoint(3), best=False)  # the same name again, as a resumed run does
    assert (value_of(folder, "best"), value_of(folder, "last")) == (1, 3)
    assert {name for name in names(folder) if (folder.folder / name).is_dir()} == {"one", "two"}


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_the_first_there_is_none(folder: CheckpointFolder, step: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(Crash):
            folder.save("one", checkpoint(1), best=True)
    assert not folder.has("last")
    folder.save("one", checkpoint(2), best=True)
    assert value_of(folder, "last") == 2


def test_a_left_over_part_is_ignored_and_removed(folder: CheckpointFolder) -> None:
    folder.save("one", checkpoint(1), best=True)
    part = folder.folder / ".two.part"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"half")
    assert value_of(folder, "last") == 1
    folder.save("three", checkpoint(3), best=True)
    assert names(folder) == {"index.json", "three"}


# -- damage ------------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [
    ("model.safetensors", truncate),
    ("model.safetensors", lambda path: path.write_bytes(b"")),
    ("model.safetensors", lambda path: path.write_bytes(b"\xff" * 100)),
    ("model.safetensors", lambda path: path.unlink()),
    ("optimizer.safetensors", truncate),
    ("optimizer.safetensors", lambda path: path.unlink()),
    ("state.json", truncate),
    ("state.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("state.json", lambda path: path.write_text("{}")),
    ("state.json", lambda path: path.write_text("[]")),
    ("state.json", lambda path: path.write_text("3")),
    ("state.json", lambda path: path.unlink()),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damage_is_an_error(folder: CheckpointFolder, name: str, damage: Any) -> None:
    folder.save("one", checkpoint(1), best=True)
    damage(folder.folder / "one" / name)
    with pytest.raises(RunError, match="the checkpoint is damaged") as caught:
        folder.load("last")
    assert caught.value.where == str(folder.folder / "one")
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", '{"last": "one', "[]", "3"])
def test_a_damaged_index_is_not_taken_for_an_empty_one(folder: CheckpointFolder, content: str) -> None:
    folder.save("one", checkpoint(1), best=True)
    (folder.folder / "index.json").write_text(content, encoding="utf-8")
    for asked in (
        lambda: folder.has("last"),
        lambda: folder.load("last"),
        lambda: folder.save("two", checkpoint(2), best=False),
    ):
        with pytest.raises(RunError, match="the checkpoint is damaged") as caught:
            asked()
        assert caught.value.where == str(folder.folder / "index.json")
    assert (folder.folder / "one" / "model.safetensors").exists()


def test_another_format_is_refused(folder: CheckpointFolder) -> None:
    folder.save("one", checkpoint(1), best=True)
    write_json(folder.folder / "one" / "state.json", {"format": checkpoints.FORMAT + 1})
    with pytest.raises(RunError, match="written by another version"):
        folder.load("last")


# -- a full or missing disk --------------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing fails beyond ``size`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_full_disk_is_an_error_and_keeps_the_old(folder: CheckpointFolder, size: int) -> None:
    folder.save("one", checkpoint(1), best=True)
    with largest_file(size), pytest.raises(RunError, match="cannot write a checkpoint"):
        folder.save("two", checkpoint(2), best=True)
    assert value_of(folder, "last") == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write a checkpoint"):
        CheckpointFolder(tmp_path / "file" / "checkpoints").save("one", checkpoint(1), best=True)


def test_a_text_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old" * 1000)
    with largest_file(10), pytest.raises(OSError, match="large"):
        write_text(path, "new" * 1000)
    assert path.read_text(encoding="utf-8") == "old" * 1000


# -- what continuing needs ---------------------------------------------------------------------------------------------


def test_an_optimiser_goes_on_where_it_was(folder: CheckpointFolder) -> None:
    def steps(count: int, layer: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            layer(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()

    def fresh() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    through, optimizer = fresh()
    steps(5, through, optimizer)

    first, optimizer = fresh()
    steps(2, first, optimizer)
    tensors = {**optimizer_tensors(optimizer), **random_state(torch.device("cpu"))}
    folder.save("one", Checkpoint(dict(first.state_dict()), tensors, {}), best=False)

    second, optimizer = fresh()
    torch.manual_seed(99)
    loaded = folder.load("last")
    second.load_state_dict(loaded.model)
    restore_random_state(loaded.optimizer, torch.device("cpu"))
    restore_optimizer(optimizer, loaded.optimizer)
    steps(3, second, optimizer)
    assert torch.equal(second.weight, through.weight)
    assert torch.equal(second.bias, through.bias)


def test_the_state_of_another_device_is_left_aside() -> None:
    tensors = random_state(torch.device("cpu")) | {
        "rng.cuda": torch.zeros(16, dtype=torch.uint8),
        "0.step": torch.ones(1),
    }
    restore_random_state(tensors, torch.device("cpu"))
    assert list(tensors) == ["0.step"]


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"b": [1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
