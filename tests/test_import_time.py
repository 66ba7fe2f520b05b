"""Starting is quick: what is heavy is imported where it is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

IMPORT_SECONDS = 0.1
HELP_SECONDS = 0.3
TRIES = 20
"""Other processes may take the machine for a while; one quick start shows that it can be so."""

HEAVY = {
    *("torch", "torchvision", "numpy", "scipy", "sklearn", "problog", "pysdd", "deepproblog", "matplotlib", "PIL"),
    *("safetensors", "lightning_fabric", "timm", "onnx", "onnxruntime", "onnxscript", "tensorboard", "sphinx", "klay"),
}

IMPORT = """
import sys, time
started = time.perf_counter()
import nesy_gedi
print(time.perf_counter() - started, *sorted({name.partition(".")[0] for name in sys.modules}))
"""

HELP = """
import sys, time
started = time.perf_counter()
from nesy_gedi.cli.main import main
try:
    main(["--help"])
except SystemExit as left:
    assert left.code == 0
print(time.perf_counter() - started, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def last_line(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def quickest(script: str, enough: Callable[[float], bool]) -> float:
    best = float("inf")
    for _ in range(TRIES):
        best = min(best, float(last_line(script)[0]))
        if enough(best):
            break
    return best


def test_the_package_is_imported_in_a_moment() -> None:
    assert quickest(IMPORT, lambda seconds: seconds < IMPORT_SECONDS) < IMPORT_SECONDS
    assert not HEAVY & set(last_line(IMPORT)[1:])


def test_the_help_comes_in_a_moment() -> None:
    assert quickest(HELP, lambda seconds: seconds < HELP_SECONDS) < HELP_SECONDS
    assert not HEAVY & set(last_line(HELP)[1:])
