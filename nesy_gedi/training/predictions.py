"""What a trained program answers about images: probabilities, the symbols behind them, and what is in doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.training.unusual import REASONS

SURE = 0.9
"""An answer that is less probable than this is unsure: of calibrated answers below it, more than one in ten is wrong."""

IN_DOUBT = 2
"""Symbols that are named of each image in doubt."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to n queries; all tensors are on the CPU.

    Attributes:
        query: the query form.
        answers: the answers that can be derived, as text; ``("true",)`` where the form leaves nothing open.
        slots: the slots that hold images, in the form's order.
        inputs: what networks perceive: slot by slot, networks in the program's order.
        observed: the inputs whose values are given, or predicted.
        stated: for each of these, whether its value was given.
        sure: answers that are less probable are unsure.
        log_p: log-probabilities of the answers in nats, (n, answers), as the reasoner gives them. They need not add up to
            one: where the program derives no answer from what may be seen, its probability is missing from the sum.
        best: column of the most probable answer, (n,) int64.
        concepts: (network, slot) -> probabilities of its symbols, (n, K); (network, slot, slot ...) where it looks at several
            images together.
        symbols: the symbols in the most probable explanation of the best answer, (n, inputs) int64, positions in the
            domains, as :meth:`~nesy_gedi.logic.reasoner.Reasoner.explain_inputs` finds them; -1 where the
            answer is impossible, or no explanation was asked for.
        share: how probable these symbols are given the answer, (n,), in all that the program may draw beside them; 0 where
            there are none.
        values: of the observed inputs, (n, observed) int64.
        unusual: slot -> in which way its image differs from those of training, (n,) uint8, positions in
            :data:`~nesy_gedi.training.unusual.REASONS`.
    """

    query: str
    answers: tuple[str, ...]
    slots: tuple[str, ...]
    inputs: tuple[NeuralInput, ...]
    observed: tuple[NeuralInput, ...]
    stated: tuple[bool, ...]
    sure: float
    log_p: Tensor
    best: Tensor
    concepts: Mapping[tuple[str, ...], Tensor]
    symbols: Tensor
    share: Tensor
    values: Tensor
    unusual: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.best)

    @cached_property
    def probability(self) -> Tensor:
        """Of the most probable answer, (n,)."""
        return self.log_p.gather(1, self.best[:, None])[:, 0].exp()

    @cached_property
    def odd(self) -> Tensor:
        """Whether one of the images differs plainly from those of training, (n,) bool."""
        found = torch.zeros(len(self), dtype=torch.bool)
        for codes in self.unusual.values():
            found |= codes > 0
        return found

    @cached_property
    def unsure(self) -> Tensor:
        """Whether the best answer is less probable than ``sure``, or one of the images is unusual, (n,) bool."""
        return ~(self.probability >= self.sure) | self.odd

    def answer(self, row: int) -> str:
        """The best answer as text; with the values of observed inputs where these were predicted."""
        values = ", ".join(
            f"{item.slots[0]} = {item.domain[value]}"
            for item, stated, value in zip(self.observed, self.stated, self.values[row].tolist(), strict=True)
            if not stated
        )
        text = self.answers[int(self.best[row])]
        if not values:
            return text
        return values if self.answers == ("true",) else f"{text}, {values}"

    def ranked(self, row: int, top: int | None = None) -> list[tuple[str, float]]:
        """The most probable answers with their probabilities, falling; ``top`` of them at most."""
        order = self.log_p[row].sort(descending=True, stable=True)
        count = len(self.answers) if top is None else min(top, len(self.answers))
        shown = zip(order.indices[:count].tolist(), order.values[:count].exp().tolist(), strict=True)
        return [(self.answers[column], p) for column, p in shown]

    def symbol(self, row: int, k: int) -> str | None:
        """Of ``inputs[k]``, in the explanation; None where there is none."""
        value = int(self.symbols[row, k])
        return None if value < 0 else self.inputs[k].domain[value]

    def doubts(self, row: int, images: Sequence[str] | None = None) -> list[str]:
        """Why an answer is unsure, one clause a reason; none where it is sure.

        Args:
            images: names of the images in the order of ``slots``, for messages; the slots' names where not given.
        """
        if not bool(self.unsure[row]):
            return []
        names = dict(zip(self.slots, images or self.slots, strict=True))
        found = []
        p = float(self.probability[row])
        if p == 0.0:
            found.append("the program derives no answer from what is seen" + self._combination())
        elif p < self.sure:
            found.append(self._rivals(row, p))
            found += self._symbols_in_doubt(row, names)
        found += [
            f"image {names[slot]}: {REASONS[int(codes[row])]}" for slot, codes in self.unusual.items() if codes[row]
        ]
        return found

    def _combination(self) -> str:
        """Observed values are predicted one by one, so that they need not fit together."""
        return "" if all(self.stated) else ": the likeliest values, each by itself, do not fit together"

    def _rivals(self, row: int, p: float) -> str:
        ranked = [(text, each) for text, each in self.ranked(row, 2) if each > 0.0]
        nothing = 1.0 - float(self.log_p[row].exp().sum())
        said = f"{self.answer(row)} has probability {_short(p)}"
        if nothing > max(0.005, ranked[1][1] if len(ranked) > 1 else 0.0) and not self.observed:
            return f"{said}, no answer at all {_short(nothing)}"
        return said if len(ranked) < 2 else f"{said}, {ranked[1][0]} {_short(ranked[1][1])}"

    def _symbols_in_doubt(self, row: int, names: Mapping[str, str]) -> list[str]:
        """The images whose symbol is unsure, the most so first; then those that the explanation reads in another way."""
        found: list[tuple[float, str]] = []
        for k, item in enumerate(self.inputs):
            share = self.concepts[item.network, *item.slots][row].sort(descending=True, stable=True)
            best = float(share.values[0])
            shown = " and ".join(names[slot] for slot in item.slots)
            what = f"image {shown} is" if len(item.slots) == 1 else f"images {shown} are"
            what += f", to {item.network}," if self._several(item.slots[0]) else ""
            if best < self.sure:
                rivals = zip(share.indices[:IN_DOUBT].tolist(), share.values[:IN_DOUBT].tolist(), strict=True)
                found.append((best, f"{what} {' or '.join(f'{item.domain[s]} ({_short(p)})' for s, p in rivals)}"))
            elif self.symbols[row, k] not in (-1, share.indices[0]):
                symbol, read = self.symbol(row, k), item.domain[int(share.indices[0])]
                found.append((1.0, f"{what} {read} ({_short(best)}), but {symbol} in the explanation"))
        return [said for _, said in sorted(found, key=lambda each: each[0])]

    def _several(self, slot: str) -> bool:
        return sum(item.slots[0] == slot for item in self.inputs) > 1

    def document(self, row: int, images: Sequence[str] | None = None, *, top: int | None = None) -> dict[str, Any]:
        """One query as plain JSON.

        Args:
            images: names of the images in the order of ``slots``.
            top: answers and symbols at most, falling by probability; all in their own order where not given.
        """
        names = dict(zip(self.slots, images or self.slots, strict=True))
        everything = zip(self.answers, self.log_p[row].exp().tolist(), strict=True)
        concepts = []
        for slot in self.slots:
            seen = {}
            for k, item in enumerate(self.inputs):
                if item.slots[0] == slot:
                    share = self.concepts[item.network, *item.slots][row].tolist()
                    pairs = list(zip(item.domain, share, strict=True))
                    if top is not None:
                        pairs = sorted(pairs, key=lambda pair: -pair[1])[:top]
                    seen[_name(item)] = {"symbol": self.symbol(row, k), "probabilities": dict(pairs)}
            concepts.append({"slot": slot, "image": names[slot], "networks": seen})
        return {
            "images": list(names.values()),
            "answer": self.answer(row),
            "probability": float(self.probability[row]),
            "answers": dict(everything if top is None else self.ranked(row, top)),
            "observed": {
                item.slots[0]: {"value": item.domain[value], "given": stated}
                for item, stated, value in zip(self.observed, self.stated, self.values[row].tolist(), strict=True)
            },
            "concepts": concepts,
            "explanation": {"probability_given_answer": float(self.share[row])},
            "unsure": bool(self.unsure[row]),
            "doubts": self.doubts(row, images),
        }


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of the same program, one after the other; at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def rows(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    return replace(
        first,
        log_p=rows("log_p"),
        best=rows("best"),
        symbols=rows("symbols"),
        share=rows("share"),
        values=rows("values"),
        concepts={key: torch.cat([part.concepts[key] for part in parts]) for key in first.concepts},
        unusual={slot: torch.cat([part.unusual[slot] for part in parts]) for slot in first.unusual},
    )


def _name(item: NeuralInput) -> str:
    """A network that looks at one image is named by itself; one that looks at several, with them."""
    return item.network if len(item.slots) == 1 else f"{item.network}({', '.join(item.slots)})"


def _short(p: float) -> str:
    """A probability in few digits, none of which is lost where it is small."""
    return f"{p:.2f}" if p >= 0.005 or p == 0.0 else f"{p:.1g}"
