"""``README.md`` of an export: what is in the folder, and the ways to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nesy_gedi.networks.cards import CARD
from nesy_gedi.networks.definitions import DEFINITION, HEAD, WEIGHTS
from nesy_gedi.training.exported_answers import ANSWERS, OUTPUT
from nesy_gedi.training.exported_networks import ONNX


def write_page(manifest: Mapping[str, Any], answers: Mapping[str, Any] | None, *, onnx: bool) -> str:
    """The page as Markdown.

    Args:
        manifest: as it will be written, but for the files.
        answers: what ``answers.json`` says; None where there are none.
        onnx: whether there are ONNX files.
    """
    networks: dict[str, Any] = manifest["networks"]
    first = next(iter(networks))
    parts = [f"# {_title(manifest)}", "", _origin(manifest), "", "## What is here", "", "| file | holds |", "|---|---|"]
    for folder, what in networks.items():
        shape = "x".join(map(str, what["image_shape"]))
        kind = "clusters" if manifest["program"] is None else "symbols"
        parts.append(f"| `{folder}/{WEIGHTS}` | weights of the encoder, {shape} to {what['features']} features |")
        if what["head"]:
            parts.append(f"| `{folder}/{HEAD}` | weights of its head, features to {len(what['domain'])} {kind} |")
        parts.append(f"| `{folder}/{DEFINITION}` | the network in plain PyTorch; `load()` loads the weights strictly |")
        if onnx:
            parts.append(f"| `{folder}/{ONNX}` | the network: `images` to `features` and `log_probabilities` |")
        parts.append(f"| `{folder}/{CARD}` | where it comes from, what it takes, what its {kind} are, how good it is |")
    if answers is not None:
        files = ", ".join(f"`{ANSWERS}.{end}`" for end in (["onnx"] if onnx else []) + ["pt2"])
        parts.append(f"| {files} | networks and program: images to log-probabilities of `{answers['query']}` |")
        parts.append(f"| `{ANSWERS}.json` | their inputs and answers, in order |")
    if manifest["predictor"] is not None:
        parts.append("| `predictor/` | the whole predictor, as `nesy-gedi predict` and `ng.Predictor.load` take it |")
    parts += ["", *_plain(first, networks[first], answers)]
    if onnx:
        parts += ["", *_runtime(first, answers)]
    parts += ["", *_package(first, manifest["predictor"])]
    return "\n".join(parts) + "\n"


def _title(manifest: Mapping[str, Any]) -> str:
    if manifest["program"] is None:
        return f"An encoder pretrained with {manifest['method']} on {manifest['data']}"
    return f"What {manifest['program']} has taught its networks"


def _origin(manifest: Mapping[str, Any]) -> str:
    said = f"Written by {manifest['created_by']} from a run on {manifest['data']} with seed {manifest['seed']}."
    if not manifest["finished"]:
        said += " The run was not finished: these are its best weights so far."
    return f"{said} Every file was compared with the run on {manifest['checked_on']}; `export.json` says how far they differ."


def _plain(folder: str, what: Mapping[str, Any], answers: Mapping[str, Any] | None) -> list[str]:
    image = (4, *what["image_shape"])
    lines = [
        "## In plain PyTorch",
        "",
        "It needs `torch` and `safetensors`. Images are uint8 in 0..255 or float in [0, 1]; they are normalised inside.",
        "",
        "```python",
        "import sys",
        "",
        "import torch",
        "",
        f'sys.path.insert(0, "{folder}")',
        "from encoder import load",
        "",
        "encoder = load()",
        f"images = torch.zeros({image}, dtype=torch.{'uint8' if len(image) == 4 else 'float32'})",
        f"features = encoder(images)  # (4, {what['features']})",
        f"probabilities = encoder.probabilities(images)  # (4, {len(what['domain'])})",
        "```",
    ]
    if answers is None:
        return lines
    given = ", ".join(
        f"torch.zeros({(4, *each['shape'][1:])}"
        + ("" if each["dtype"] == "float32" else f", dtype=torch.{each['dtype']}")
        + ")"
        for each in answers["inputs"]
    )
    return [
        *lines,
        "",
        f"The answers to `{answers['query']}`, of float32 images in [0, 1]: {_columns(answers)}",
        "",
        "```python",
        f'answer = torch.export.load("{ANSWERS}.pt2").module()',
        f"log_p = answer({given})  # (4, {len(answers['answers'])})",
        "```",
    ]


def _columns(answers: Mapping[str, Any]) -> str:
    said = f"column i is the log-probability of `answers[i]` in `{ANSWERS}.json`."
    if values := [each["name"] for each in answers["inputs"] if each["kind"] == "value"]:
        said += f" {' and '.join(values)} are given as numbers of values in their domains there."
    if answers["members"] > 1:
        said += f" The networks are ensembles of {answers['members']}; the answers are the mean of their members'."
    return said


def _runtime(folder: str, answers: Mapping[str, Any] | None) -> list[str]:
    lines = [
        "## In ONNX Runtime",
        "",
        "Inputs are float32, images in [0, 1]: divide bytes by 255. Any number of rows.",
        "",
        "```python",
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{folder}/{ONNX}")',
        "shape = [4, *session.get_inputs()[0].shape[1:]]",
        'features, log_p = session.run(None, {"images": np.zeros(shape, np.float32)})',
        "```",
    ]
    if answers is None:
        return lines
    fed = [
        f'    "{each["name"]}": np.zeros({(4, *each["shape"][1:])}, np.{each["dtype"]}),' for each in answers["inputs"]
    ]
    return [
        *lines,
        "",
        f"The answers to `{answers['query']}`: {_columns(answers)}",
        "",
        "```python",
        f'session = onnxruntime.InferenceSession("{ANSWERS}.onnx")',
        f'log_p = session.run(["{OUTPUT}"], {{',
        *fed,
        "})[0]",
        "```",
    ]


def _package(folder: str, predictor: str | None) -> list[str]:
    lines = [
        "## In nesy-gedi",
        "",
        "As the encoder of another program's network:",
        "",
        "```",
        f"nesy-gedi train PROGRAM --encoder NETWORK={folder}",
        "```",
    ]
    if predictor is not None:
        lines += ["", "To answer about new images:", "", "```", f"nesy-gedi predict {predictor} IMAGE...", "```"]
    return lines
