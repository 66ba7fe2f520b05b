"""What options mean, apart from the commands that take them."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from nesy_gedi.cli.main import main
from nesy_gedi.cli.options import OBJECTIVES, trusted_networks
from nesy_gedi.logic.program import Program
from nesy_gedi.objectives import OBJECTIVES as FOUND

PROGRAM = """
nn(one, [X], Y, [a, b]) :: first(X, Y).
nn(two, [X], Y, [a, b]) :: second(X, Y).
"""


def test_python_is_trusted_where_it_is_named_and_nowhere_else(tmp_path: Path) -> None:
    program = Program(PROGRAM)
    assert trusted_networks(("one=package.module:factory",), program, trust=False) == ("one",)
    # What the recipe in a folder would import has not been named by the user.
    assert trusted_networks((f"one={tmp_path}",), program, trust=False) == ()
    assert trusted_networks((f"one={tmp_path}",), program, trust=True) == ("one", "two")


def test_the_help_names_every_objective() -> None:
    assert list(OBJECTIVES) == sorted(FOUND)
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        main(["pretrain", "--help"])
    listed = " ".join(shown.getvalue().split())
    assert f"name none: {', '.join(sorted(FOUND))};" in listed


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys\ntry: main(['pretrain', '--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", f"from nesy_gedi.cli.main import main\n{code}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
