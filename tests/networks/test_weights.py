"""Weights from files: all of them, or listed and refused unless asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.networks.weights import fit_weights, load_encoder_weights, read_weights


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def stored(module: nn.Module, file: Path, *without: str, **extra: torch.Tensor) -> Path:
    kept = {key: tensor.clone() for key, tensor in module.state_dict().items() if not key.startswith(without or "-")}
    save_file({**kept, **{key.replace("__", "."): tensor for key, tensor in extra.items()}}, file)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def test_whole_weights_are_loaded(file: Path) -> None:
    first, second = small(), small()
    fit = load_encoder_weights(second, read_weights(stored(first, file)), file)
    assert fit.whole
    assert fit.share == 1.0
    assert all(torch.equal(tensor, first.state_dict()[key]) for key, tensor in second.state_dict().items())


def test_partial_weights_are_listed_and_refused_unless_asked(file: Path) -> None:
    first, second = small(), small()
    stored(first, file, "2.", **{"2__weight": torch.zeros(5, 3), "head__weight": torch.zeros(1)})
    before = {key: tensor.clone() for key, tensor in second.state_dict().items()}
    found = read_weights(file)
    with pytest.raises(UsageError) as caught:
        load_encoder_weights(second, found, file, key="networks.digit_net.partial")
    message = caught.value.message
    assert "match 72.4% of the encoder's parameters" in message  # 21 of 29 numbers
    assert "1 missing (2.bias)" in message
    assert "1 unexpected (head.weight)" in message
    assert "1 of another shape (2.weight [5, 3] instead of [2, 3])" in message
    assert "networks.digit_net.partial=true" in str(caught.value.hint)
    assert all(torch.equal(tensor, before[key]) for key, tensor in second.state_dict().items())

    fit = load_encoder_weights(second, found, file, partial=True)
    assert fit.share == pytest.approx(21 / 29)
    assert torch.equal(second.state_dict()["0.weight"], first.state_dict()["0.weight"])
    assert torch.equal(second.state_dict()["2.weight"], before["2.weight"])


def test_weights_that_match_nowhere_are_refused_even_where_partial_ones_are_allowed(file: Path) -> None:
    save_file({"other": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match="none of the encoder's weights is in the file"):
        load_encoder_weights(small(), read_weights(file), file, partial=True)
    stored(small(), file, "0.", "2.", "1.weight", "1.bias")
    with pytest.raises(UsageError, match="none of"):  # statistics alone are no weights
        load_encoder_weights(small(), read_weights(file), file, partial=True)


def test_the_first_of_many_keys_are_named() -> None:
    listing = fit_weights(
        nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)]), {"0.weight": torch.zeros(2, 2)}
    ).listing()
    assert listing == "17 missing (0.bias, 1.weight, 1.bias, ...)"


def test_tied_weights_and_counters_are_not_missed(file: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    module[1].weight = module[0].weight
    stored(module, file, "1.weight", "2.num_batches_tracked")
    fit = fit_weights(module, read_weights(file))
    assert fit.whole
    assert fit.share == 1.0


def test_prefixes_are_taken_off_and_classifiers_left_out(file: Path) -> None:
    save_file({"encoder.0.weight": torch.ones(1), "encoder.fc.weight": torch.ones(1), "rows": torch.ones(1)}, file)
    assert list(read_weights(file, prefix="encoder.", left_out=("fc.",))) == ["0.weight"]


@pytest.mark.parametrize("name", ["resnet18.pth", "model.pt", "weights"])
def test_what_would_be_unpickled_is_refused_with_a_way_to_convert_it(name: str, tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / name)
    with pytest.raises(UsageError, match=r"from \.safetensors files alone") as caught:
        read_weights(tmp_path / name)
    assert "weights_only=True" in str(caught.value.hint)


def test_damaged_and_broken_weights_are_refused(file: Path) -> None:
    file.write_bytes(b"nothing")
    with pytest.raises(RunError, match="damaged"):
        read_weights(file)
    save_file({"0.weight": torch.tensor([1.0, float("nan")])}, file)
    with pytest.raises(RunError, match=r"0\.weight are not finite"):
        read_weights(file)
    with pytest.raises(UsageError, match="no such file"):
        read_weights(file.with_name("nowhere.safetensors"))
