"""Any encoder that a recipe names, for the data that there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.networks.adapters import Adapted
from nesy_gedi.networks.building import BuiltEncoder, build_encoder
from nesy_gedi.networks.cards import Architecture, EncoderCard, InputCard, card_of, write_card
from nesy_gedi.networks.encoders import ConvEncoder

GREY = (1, 8, 8)


@dataclass(frozen=True)
class Spec:
    """What a recipe says."""

    encoder: str = "conv"
    features: int = 16
    width: int = 4
    normalisation: str = "batch"
    input_shape: tuple[int, ...] = ()
    weights_file: str = ""
    partial: bool = False


def colour_encoder() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def wide_encoder() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 5))


def nothing_encoder() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 5))


READY = nn.Flatten()


def save(module: nn.Module, file: Path, prefix: str = "") -> None:
    """Its weights; those of convolutions lie in memory with channels last."""
    save_file({f"{prefix}{key}": tensor.contiguous() for key, tensor in module.state_dict().items()}, file)


def build(*shapes: tuple[int, ...], **said: object) -> BuiltEncoder:
    return build_encoder(Spec(**said), shapes or (GREY,), trusted=True, section="networks.digit_net")  # type: ignore[arg-type]


def own(name: str) -> str:
    return f"{__name__}:{name}"


def test_what_fits_is_left_as_it_is() -> None:
    made = build()
    assert isinstance(made.module, ConvEncoder)
    assert (made.mean, made.std, made.notes) == (None, None, ())
    assert build(encoder=own("READY")).module is READY  # a module as well as what makes one


def test_grey_images_for_a_colour_encoder_are_told_with_the_key_that_helps() -> None:
    with pytest.raises(UsageError, match="takes colour images, those of the data are grey") as caught:
        build(encoder=own("colour_encoder"))
    assert caught.value.hint == "have them adapted: --set networks.digit_net.input_shape=[3, 8, 8]"
    made = build(encoder=own("colour_encoder"), input_shape=(3, 8, 8))
    assert made.module(torch.zeros(2, *GREY)).shape == (2, 4)
    assert "repeated to colour" in made.notes[0]
    assert made.mean is None  # it says no normalisation, so that the data's holds


def test_an_encoder_of_another_size_is_told_the_same() -> None:
    with pytest.raises(UsageError, match="does not take images of shape") as caught:
        build(encoder=own("wide_encoder"))
    assert "input_shape=[1, 32, 32]" in str(caught.value.hint)
    assert isinstance(build(encoder=own("nothing_encoder")).module, nn.Module)  # whoever uses it says what is wrong


def test_a_wrong_input_shape_is_told() -> None:
    with pytest.raises(UsageError, match="to which those of") as caught:
        build(encoder=own("wide_encoder"), input_shape=(1, 16, 16))
    assert caught.value.where == "networks.digit_net.input_shape"


def test_a_model_of_a_library_gets_what_it_was_made_for() -> None:
    made = build(encoder="torchvision:squeezenet1_1", input_shape=(3, 32, 32))
    assert isinstance(made.module, Adapted)
    assert made.module.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert made.mean is not None
    assert made.std is not None
    assert made.mean[0].tolist() == [0.0]  # the adapter standardises, nothing else does
    assert made.std[0].tolist() == [1.0]
    assert "random" in made.notes[1]
    # Of images as it takes them, the perception standardises.
    made = build((3, 32, 32), encoder="torchvision:squeezenet1_1", input_shape=(3, 32, 32))
    assert not isinstance(made.module, Adapted)
    assert made.mean is not None
    assert made.mean[0].tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_weights_of_a_library_are_loaded_without_its_classifier(tmp_path: Path) -> None:
    from torchvision import models

    source = models.squeezenet1_1(weights=None)
    save(source, tmp_path / "w.safetensors")
    said = {"encoder": "torchvision:squeezenet1_1", "input_shape": (3, 32, 32)}
    made = build(**said, weights_file=str(tmp_path / "w.safetensors"))
    assert "100.0% of the encoder's parameters" in made.notes[1]
    source.classifier[1] = nn.Identity()
    source.eval()
    pixels = torch.rand(2, 3, 32, 32)
    assert isinstance(made.module, Adapted)
    assert torch.equal(made.module.encoder.eval()(pixels), source(pixels))


def stored(folder: Path, given: tuple[int, ...] = GREY, adapted: InputCard | None = None) -> tuple[nn.Module, Path]:
    """A conv encoder in a file with its card."""
    conv: nn.Module = ConvEncoder(GREY, 16, 4)
    module = conv if adapted is None else Adapted(conv, given, GREY, mean=adapted.mean, std=adapted.std)
    save(module, folder / "encoder.safetensors")
    channels = given[0]
    card = EncoderCard(
        Architecture("conv", arguments={"features": 16, "width": 4}, adapted=adapted),
        InputCard(given, (0.25,) * channels, (0.5,) * channels),
        16,
    )
    write_card(card, folder / "encoder.safetensors")
    return conv.eval(), folder / "encoder.safetensors"


def test_a_card_brings_its_normalisation(tmp_path: Path) -> None:
    _, file = stored(tmp_path)
    made = build(weights_file=str(file))
    assert made.mean is not None
    assert made.mean[0].tolist() == [0.25]
    made = build((3, 28, 28), weights_file=str(file), input_shape=GREY)  # other images are adapted to it
    assert isinstance(made.module, Adapted)
    assert made.module.mean.tolist() == [0.25]
    assert "resized from 28x28 to 8x8, turned grey" in made.notes[0]


def test_an_encoder_that_was_adapted_is_adapted_anew(tmp_path: Path) -> None:
    """Not twice: its own weights are taken, and images of any size go straight to what it takes."""
    conv, file = stored(tmp_path, (3, 28, 28), InputCard(GREY, (0.1,), (0.2,)))
    made = build((1, 16, 16), weights_file=str(file), input_shape=GREY)
    assert isinstance(made.module, Adapted)
    assert isinstance(made.module.encoder, ConvEncoder)
    assert made.module.mean.tolist() == pytest.approx([0.1])
    images = torch.rand(3, *GREY)
    assert torch.equal(made.module.encoder.eval()(images), conv(images))


def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path) -> None:
    _, file = stored(tmp_path)
    save(ConvEncoder(GREY, 16, 4), file)
    with pytest.raises(RunError, match="not those of their card"):
        build(weights_file=str(file))
    card_of(file).unlink()
    assert build(weights_file=str(file)).mean is None


def test_partial_weights_are_a_warning_where_asked_for(tmp_path: Path) -> None:
    save(ConvEncoder(GREY, 16, 4).stages[:1], tmp_path / "w.safetensors", "stages.")  # type: ignore[index]
    with pytest.raises(UsageError, match="match") as caught:
        build(weights_file=str(tmp_path / "w.safetensors"))
    assert "--set networks.digit_net.partial=true" in str(caught.value.hint)
    made = build(weights_file=str(tmp_path / "w.safetensors"), partial=True)
    assert "missing" in made.warnings[0]


def test_several_inputs_are_put_together() -> None:
    images = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)
    assert build(GREY, (3, 8, 8)).module(*images).shape == (2, 16)
    assert build(GREY, (5,), (4, 2), encoder="mlp").module(images[0], torch.rand(2, 5), torch.rand(2, 4, 2)).shape == (
        2,
        16,
    )


@pytest.mark.parametrize(
    ("shapes", "said", "message"),
    [
        ((GREY, (1, 4, 4)), {}, "several images of one size"),
        ((GREY, (5,)), {}, "several images of one size"),
        ((GREY, GREY), {"input_shape": (3, 8, 8)}, "networks of one input, not of 2"),
        ((GREY, GREY), {"encoder": "torchvision:resnet18"}, "networks of one input, not of 2"),
    ],
)
def test_inputs_that_cannot_be_put_together_are_refused(
    shapes: tuple[tuple[int, ...], ...], said: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(*shapes, **said)
