"""``nesy-gedi export``: streams, codes, and the JSON document."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import Run, nothing_but


def test_an_export_ends_with_its_folder(run: Run, finished_run: Path) -> None:
    done = run("export", finished_run, "--to", "out", "--no-onnx")
    assert (done.code, done.err, done.last_line) == (0, "", "out")
    assert "digit_net" in done.out
    run("export", finished_run, "--to", "out", "--no-onnx").failed(1, "out: the folder exists", "--force")
    nothing_but("out")
    run("predict", "out").failed(2, "takes 2 images")  # the predictor in it is found


def test_one_json_document_and_nothing_else(run: Run, finished_run: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = run("export", finished_run, "--to", "out", "--json")
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert (document["version"], document["to"], document["run"]) == (1, "out", str(finished_run))
    assert document["networks"]["digit_net"]["checks"]["onnx_features_difference"] <= 1e-5
    assert document["answers"]["differences"]["onnx"] <= 1e-5
    assert "answers.onnx" in document["files"]


def test_a_pretraining(run: Run, finished_pretraining: Path) -> None:
    done = run("export", finished_pretraining, "--to", "out", "--no-onnx", "--json")
    assert list(done.document["networks"]) == ["encoder"]
    assert done.document["answers"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("export", "RUN"), 2, "--to"),
        (("export", "nowhere", "--to", "out"), 1, "not a run folder"),
        (("export", "RUN", "--to", "RUN/out"), 1, "cannot lie in one another"),
        (("export", "RUN", "--to", "out", "--no-onnx", "--network", "digits"), 2, "did you mean digit_net?"),
        (("export", "RUN", "--to", "out", "--encoder", "digit_net"), 2, "expected NET=SPEC"),
    ],
)
def test_wrong_usage_of_export(run: Run, finished_run: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    run(*(word.replace("RUN", str(finished_run)) for word in arguments)).failed(code, said)
    nothing_but()
