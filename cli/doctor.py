"""``nesy-gedi doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table

# (distribution, module to import, what it is for, whether nesy-gedi needs it)
BACKENDS = (
    ("torch", "torch", "networks and circuits", True),
    ("torchvision", "torchvision", "data sets", True),
    ("problog", "problog", "grounding", True),
    ("pysdd", "pysdd.sdd", "knowledge compilation", True),
    ("deepproblog", "deepproblog.model", "--engine deepproblog, ground --check", True),
    ("scikit-learn", "sklearn", "bundled digits, metrics", True),
    ("lightning-fabric", "lightning_fabric", "devices and precision", True),
    ("safetensors", "safetensors", "checkpoints", True),
    ("matplotlib", "matplotlib", "reports", True),
    ("klaycircuits", "klay", "--engine klay, ground --check", False),
    ("timm", "timm", "--encoder NET=timm:NAME", False),
    ("onnx", "onnx", "export to ONNX", False),
    ("onnxruntime", "onnxruntime", "export to ONNX, its parity check", False),
    ("onnxscript", "onnxscript", "export to ONNX", False),
    ("tensorboard", "torch.utils.tensorboard", "--tensorboard", False),
    ("sphinx", "sphinx.application", "the documentation's site", False),
)

EXTRAS = {
    "klaycircuits": "klay",
    "timm": "timm",
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx"),
    "tensorboard": "tensorboard",
    "sphinx": "docs",
}
"""Distribution -> the extra that brings it."""


@click.command(short_help="Import every backend; show versions and how to fix what fails.")
@options.as_json
def doctor(as_json: bool) -> None:
    """Import every backend and show its version, or the original error and the fix."""
    checks = [_check(*backend) for backend in BACKENDS]
    checks.append({"name": "python", "status": "ok", "version": platform.python_version(), "use": "", "fix": ""})
    checks.append(_check_devices())
    if as_json:
        print_json(checks)
    else:
        print_table(
            [[c["name"], c["status"], c["version"], c["use"]] for c in checks], ["name", "status", "version", "use"]
        )
        for check in checks:
            if check["status"] == "absent":
                click.echo(f"{check['name']}: not installed (optional): {check['fix']}")
            elif check["fix"]:
                click.echo(f"{check['name']}: {check['error']}\n  fix: {check['fix']}")
    if any(check["status"] == "broken" for check in checks):
        sys.exit(1)


def _check(distribution: str, module: str, use: str, needed: bool) -> dict[str, str]:
    found = {"name": distribution, "use": use, "version": "", "status": "ok", "error": "", "fix": ""}
    try:
        importlib.import_module(module)
        found["version"] = importlib.metadata.version(distribution)
    except Exception as error:  # a broken binary raises almost anything
        missing = isinstance(error, ModuleNotFoundError) and error.name in (distribution, module.partition(".")[0])
        absent = missing and not needed
        found["status"] = "absent" if absent else "broken"
        found["error"] = f"{type(error).__name__}: {error}"
        extra = f"pip install 'nesy-gedi[{EXTRAS[distribution]}]'" if distribution in EXTRAS else ""
        found["fix"] = extra if absent else f"pip install --force-reinstall {distribution}"
    return found


def _check_devices() -> dict[str, str]:
    found = {"name": "devices", "use": "training", "version": "", "status": "ok", "error": "", "fix": ""}
    try:
        import torch

        gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        found["version"] = ", ".join(["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])])
    except Exception as error:
        found["status"], found["error"], found["fix"] = "broken", str(error), "pip install --force-reinstall torch"
    return found
