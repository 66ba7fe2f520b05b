"""Which images a network takes for which symbol: the most typical, the least certain, the confused."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from nesy_gedi.training.training import Trained

SHOWN = 8
"""Images in a row of the report."""

TILE = 32
"""Side of a shown image in pixels."""

LOOKING_BATCH = 1024


@dataclass(frozen=True)
class Symbol:
    """One symbol as a network sees it.

    Attributes:
        name: the symbol.
        share: share of all images that the network takes for it.
        true_share: share of images that it truly is.
        confidence: mean probability of the symbol where it is predicted; NaN where it never is.
        typical: the images with the highest probability of the symbol, as PNG data.
        uncertain: the images predicted as the symbol with the lowest probability.
        confused: what is predicted as the symbol and is not, the most confident first.
    """

    name: str
    share: float
    true_share: float
    confidence: float
    typical: str
    uncertain: str
    confused: str


def look(trained: Trained, network: str) -> list[Symbol]:
    """What ``network`` makes of the test images, symbol by symbol."""
    images = trained.queries.images
    perception = trained.networks[network].eval()
    device = next(perception.parameters(), torch.empty(0)).device
    with torch.no_grad():
        chunks = images.images.split(LOOKING_BATCH)
        probabilities = torch.cat([perception(chunk.to(device)).exp().cpu() for chunk in chunks])
    truth = trained.task.symbols(network, images)
    predicted = probabilities.argmax(1)
    symbols = []
    for number, name in enumerate(trained.task.program.networks[network]):
        p = probabilities[:, number]
        taken = (predicted == number).nonzero()[:, 0]
        ascending = taken[p[taken].argsort()]
        wrong = ascending[truth[ascending] != number].flip(0)
        symbols.append(
            Symbol(
                name,
                share=len(taken) / len(images),
                true_share=float((truth == number).float().mean()),
                confidence=float(p[taken].mean()),
                typical=strip(images.images[ascending.flip(0)[:SHOWN]]),
                uncertain=strip(images.images[ascending[:SHOWN]]),
                confused=strip(images.images[wrong[:SHOWN]]),
            )
        )
    return symbols


def strip(images: Tensor) -> str:
    """Images (n, channels, height, width) uint8 side by side as the text of a PNG data address; empty for none."""
    if not len(images):
        return ""
    row = images.permute(0, 2, 3, 1)
    row = row.expand(-1, -1, -1, 3) if row.shape[-1] == 1 else row
    tiles = [Image.fromarray(tile.contiguous().numpy()).resize((TILE, TILE), Image.Resampling.NEAREST) for tile in row]
    sheet = Image.new("RGB", (len(tiles) * (TILE + 2), TILE), "white")
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k * (TILE + 2), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
