"""What a network gives the same answer for: the most typical images, the least certain, and those that are odd."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
from PIL import Image
from torch import Tensor, nn

from nesy_gedi.reports.page import table
from nesy_gedi.training.training import Trained

SHOWN = 8
"""Images in a row of the report."""

TILE = 32
"""Side of a shown image in pixels."""

GAP = 2
"""Pixels between two shown images."""

LOOKING_BATCH = 1024


@dataclass(frozen=True)
class Group:
    """The images that a network takes for one symbol or puts into one cluster.

    Attributes:
        name: of the symbol or cluster.
        meaning: the class that it stands for: the symbol itself, or the commonest class of the cluster; empty for an
            empty cluster.
        share: share of all images that are in the group.
        true_share: share of all images that are of the class.
        purity: share of the group's images that are of the class; NaN where there are none.
        confidence: mean probability of the answer where it is given; NaN where it never is.
        typical: the group's images with the highest probability of it, as PNG data; empty for points.
        uncertain: those with the lowest.
        odd: those of another class, the most confident first.
    """

    name: str
    meaning: str
    share: float
    true_share: float
    purity: float
    confidence: float
    typical: str
    uncertain: str
    odd: str


def look(trained: Trained, network: str) -> list[Group]:
    """What ``network`` makes of the test images, symbol by symbol."""
    images = trained.queries.images
    probabilities = probabilities_of(trained.networks[network], images.images)
    truth = trained.task.symbols(network, images)
    predicted = probabilities.argmax(1)
    return [
        gather(name, name, images.images, probabilities[:, number], predicted == number, truth == number)
        for number, name in enumerate(trained.task.program.networks[network])
    ]


@torch.no_grad()
def probabilities_of(perception: nn.Module, images: Tensor) -> Tensor:
    """What a :class:`~nesy_gedi.networks.perception.Perception` makes of images (n, channels, height, width) or points
    (n, d): probabilities (n, symbols), on the CPU."""
    perception.eval()
    device = next(perception.parameters(), torch.empty(0)).device
    return torch.cat([perception(chunk.to(device)).exp().cpu() for chunk in images.split(LOOKING_BATCH)])


def gather(
    name: str,
    meaning: str,
    images: Tensor,
    probability: Tensor,
    taken: Tensor,
    true: Tensor,
    columns: int = SHOWN,
) -> Group:
    """One group of ``images`` (n, ...).

    Args:
        probability: (n,), of the group.
        taken: (n,) bool, which images are in it.
        true: (n,) bool, which images are of the class that it stands for.
        columns: pictures side by side.
    """
    members = taken.nonzero()[:, 0]
    ascending = members[probability[members].argsort()]
    odd = ascending[~true[ascending]].flip(0)
    return Group(
        name,
        meaning,
        share=len(members) / max(1, len(images)),
        true_share=float(true.float().mean()),
        purity=float(true[members].float().mean()),
        confidence=float(probability[members].mean()),
        typical=sheet(images[ascending.flip(0)[:SHOWN]], columns),
        uncertain=sheet(images[ascending[:SHOWN]], columns),
        odd=sheet(images[odd[:SHOWN]], columns),
    )


def sheet(images: Tensor, columns: int) -> str:
    """Images (n, channels, height, width) uint8, ``columns`` of them side by side, as the text of a PNG data address.

    Empty for none, and for points (n, d), which have no picture.
    """
    if not len(images) or images.dim() != 4:
        return ""
    pixels = images.permute(0, 2, 3, 1)
    pixels = pixels.expand(-1, -1, -1, 3) if pixels.shape[-1] == 1 else pixels
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step = TILE + GAP
    picture = Image.new("RGB", (columns * step, rows * step - GAP), "white")
    for k, tile in enumerate(pixels):
        shown = Image.fromarray(tile.contiguous().numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)
        picture.paste(shown, (k % columns * step, k // columns * step))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[Group], odd: str, pictures: bool
) -> str:
    """A row for each group: the cells of ``rows``, HTML already, then its pictures.

    Args:
        header: of the cells.
        odd: header of the pictures of another class.
        pictures: whether there are any; points have none.
    """
    if not pictures:
        return table(header, rows, "words")
    full = [
        [*cells, *(_picture(data, kind, group.name) for kind, data in _pictures(group).items())]
        for cells, group in zip(rows, groups, strict=True)
    ]
    return f'<div class="wide">{table([*header, "most typical", "least certain", odd], full, "gallery")}</div>'


def _pictures(group: Group) -> dict[str, str]:
    return {"typical": group.typical, "uncertain": group.uncertain, "odd": group.odd}


def _picture(data: str, kind: str, name: str) -> str:
    return f'<img src="{data}" alt="{kind} images of {escape(name)}">' if data else "none"
