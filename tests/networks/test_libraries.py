"""Models of torchvision and timm as encoders: features, no classifier, nothing downloaded."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import make_encoder
from nesy_gedi.networks.libraries import is_library, make_library_encoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was downloaded")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)


@pytest.mark.parametrize(
    ("name", "size", "features", "left_out"),
    [
        ("squeezenet1_1", 32, 512, "classifier.1."),
        ("shufflenet_v2_x0_5", 32, 1024, "fc."),
        ("mobilenet_v3_small", 32, 1024, "classifier.3."),
        ("mnasnet0_5", 32, 1280, "classifier.1."),
    ],
)
def test_a_model_of_torchvision_returns_features(name: str, size: int, features: int, left_out: str) -> None:
    made = make_library_encoder(f"torchvision:{name}", (3, size, size))
    assert made.module.eval()(torch.zeros(2, 3, size, size)).shape == (2, features)
    assert made.left_out == (left_out,)
    assert (made.takes.mean, made.takes.std) == IMAGENET


def test_what_it_was_made_for_is_known() -> None:
    assert make_library_encoder("torchvision:squeezenet1_1").takes.shape == (3, 224, 224)
    pytest.importorskip("timm")
    assert make_library_encoder("timm:test_vit.r160_in1k").takes.shape == (3, 160, 160)
    assert make_library_encoder("timm:test_vit.r160_in1k").takes.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_vit.r160_in1k"])
def test_a_model_of_timm_returns_features(name: str) -> None:
    pytest.importorskip("timm")
    grey = make_library_encoder(f"timm:{name}", (1, 32, 32))  # it makes its first layer for as many channels
    assert grey.module.eval()(torch.zeros(2, 1, 32, 32)).dim() == 2
    assert len(grey.takes.mean) == 1


@pytest.mark.parametrize(
    ("spec", "shape", "message", "hint"),
    [
        ("torchvision:resnet19", (), "torchvision has no model resnet19", "torchvision:resnet18"),
        ("torchvision:", (), "no model without a name", "list_models"),
        ("torchvision:lraspp_mobilenet_v3_large", (), "no model lraspp", "list_models"),  # it returns no features
        ("torchvision:raft_large", (), "no model raft_large", "list_models"),
        ("torchvision:squeezenet1_1", (1, 32, 32), "take 3 channels, not 1", "[3, 32, 32]"),
        ("torchvision:squeezenet1_1", (2,), "takes images", "input_shape"),
    ],
)
def test_a_model_that_cannot_be_is_told(spec: str, shape: tuple[int, ...], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_library_encoder(spec, shape)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("name", ["resnet19_", "hf-hub:timm/resnet18", "local-dir:/tmp"])
def test_no_name_of_timm_means_a_place_to_load_from(name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match="timm has no model"):
        make_library_encoder(f"timm:{name}")


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="needs the package timm") as caught:
        make_library_encoder("timm:test_vit")
    assert 'pip install "nesy-gedi[timm]"' in str(caught.value.hint)


def test_libraries_are_told_from_code_of_ones_own() -> None:
    assert [is_library(spec) for spec in ("torchvision:x", "timm:x", "timm", "mytimm:x", "timm.models:x")] == [
        *(True, True),
        *(False, False, False),
    ]
    with pytest.raises(UsageError, match="names Python code"):
        make_encoder("timm.models:resnet18", (3, 8, 8), 4, trusted=False)
