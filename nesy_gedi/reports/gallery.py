"""What a network gives the same answer for: the most typical images, the least certain, and those that are odd."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image
from torch import Tensor

from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.reports.page import table

SHOWN = 8
"""Images of a kind."""

ACROSS = 4
"""Of these, how many stand side by side, so that the three kinds fit on a page."""

TILE = 32
"""Side of a shown image in pixels."""

GAP = 2
"""Pixels between two shown images."""


@dataclass(frozen=True)
class Group:
    """The images that a network takes for one symbol or puts into one cluster.

    Attributes:
        name: of the symbol or cluster.
        meaning: the class that it stands for: the symbol itself, or the commonest class of the cluster; empty for an
            empty cluster.
        share: share of all images that are in the group.
        true_share: share of all images that are of the class, as far as it is known of them; NaN where it is of none.
        purity: share of the group's images that are of the class, likewise.
        confidence: mean probability of the answer where it is given; NaN where it never is.
        typical: the group's images with the highest probability of it, as PNG data; empty for points.
        uncertain: those with the lowest.
        odd: those that are known to be of another class, the most confident first.
        odd_classes: what these truly are.
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
    odd_classes: tuple[str, ...]


def groups_by_symbol(images: Tensor, probabilities: Tensor, truth: Tensor, domain: Sequence[str]) -> list[Group]:
    """What a network makes of images (n, ...), symbol by symbol.

    Args:
        probabilities: of the symbols, (n, K).
        truth: the symbol of each image, (n,) int64, ``UNKNOWN`` where nobody has told it.
        domain: the symbols.
    """
    predicted = probabilities.argmax(1)
    return [
        gather(name, name, images, probabilities[:, k], predicted == k, truth, k, domain)
        for k, name in enumerate(domain)
    ]


def gather(
    name: str,
    meaning: str,
    images: Tensor,
    probability: Tensor,
    taken: Tensor,
    truth: Tensor,
    right: int,
    classes: Sequence[str],
) -> Group:
    """One group of ``images`` (n, ...).

    Args:
        probability: (n,), of the group.
        taken: (n,) bool, which images are in it.
        truth: (n,) int64, the class of each image, likewise.
        right: the class that the group stands for.
        classes: their names.
    """
    members, true = taken.nonzero()[:, 0], truth == right
    ascending = members[probability[members].argsort()]
    known = truth != UNKNOWN
    odd = ascending[~true[ascending] & known[ascending]].flip(0)[:SHOWN]
    return Group(
        name,
        meaning,
        share=len(members) / max(1, len(images)),
        true_share=float(true[known].float().mean()),
        purity=float(true[members[known[members]]].float().mean()),
        confidence=float(probability[members].mean()),
        typical=sheet(images[ascending.flip(0)[:SHOWN]], ACROSS),
        uncertain=sheet(images[ascending[:SHOWN]], ACROSS),
        odd=sheet(images[odd], ACROSS),
        odd_classes=tuple(classes[k] for k in truth[odd].tolist()),
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
        odd: header of the pictures of another class; empty where nobody has told the classes.
        pictures: whether there are any; points have none.
    """
    if not pictures:
        return table(header, rows, "words")
    full = [
        [
            *cells,
            picture(group.typical, f"typical images of {group.name}"),
            picture(group.uncertain, f"uncertain images of {group.name}"),
            *([picture(group.odd, f"odd images of {group.name}") + _truly(group.odd_classes)] if odd else []),
        ]
        for cells, group in zip(rows, groups, strict=True)
    ]
    titles = [*header, "most typical", "least certain", *([odd] if odd else [])]
    return f'<div class="wide">{table(titles, full, "gallery")}</div>'


def picture(data: str, text: str) -> str:
    """An image of a data address; ``none`` for an empty one."""
    return f'<img src="{data}" alt="{escape(text)}">' if data else "none"


def _truly(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    said = f"all truly {classes[0]}" if len(set(classes)) == 1 < len(classes) else f"truly {', '.join(classes)}"
    return f'<span class="note">{escape(said)}</span>'
