"""Programs whose networks look at inputs of several kinds, or at several inputs, once they are trained: predicted, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from given_data import MIXED, SAME, mixed, pairs, program

import nesy_gedi as ng
from nesy_gedi.data import ImageSplits, load_images


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images("digits")


CASES = [
    pytest.param(MIXED, "signed(P, X, N)", mixed, {"networks.side_net.encoder": "mlp"}, id="kinds"),
    pytest.param(SAME, "alike(X, Y, S)", pairs, {"networks.same_net.encoder": "mlp"}, id="pairs"),
]


@pytest.mark.parametrize(("text", "query", "make", "settings"), CASES)
def test_answers_are_those_of_the_run(
    text: str,
    query: str,
    make: Callable[[ImageSplits], ImageSplits],
    settings: dict[str, object],
    digits: ImageSplits,
    tmp_path: Path,
) -> None:
    data = make(digits)
    result = ng.train(
        program(text), query=query, data=data, epochs=6, settings=settings, device="cpu", out=tmp_path / "run"
    )
    test = result.queries
    shown = [test.images.take(test.index[:, k]) for k in range(test.index.shape[1])]
    predictions = result.predict(*shown)
    right = predictions.best == test.answers
    assert float(right.float().mean()) == pytest.approx(result.metrics["answer_accuracy"])
    assert 0.0 <= float(predictions.share.min()) <= float(predictions.share.max()) <= 1.0 + 1e-6
    document = predictions.document(0)
    assert document["answers"][predictions.answer(0)] == pytest.approx(document["probability"])

    exported = result.export(tmp_path / "export", onnx=False)
    assert exported.document["checked_on"] == "test images"
    with pytest.warns(
        ng.NesyGediWarning, match="in memory, which no file holds; what is exported is tried on random images"
    ):
        ng.export_run(result.run.path, tmp_path / "again", onnx=False, trusted=True)
    again = ng.load_predictor(exported.path / "predictor")(shown)
    torch.testing.assert_close(again.log_p, predictions.log_p)
    answers = torch.export.load(exported.path / "answers.pt2").module()
    as_floats = [each.float() / 255.0 if each.dtype == torch.uint8 else each for each in shown]
    torch.testing.assert_close(answers(*as_floats).exp(), predictions.log_p.exp(), rtol=1e-4, atol=1e-5)
