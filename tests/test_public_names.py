"""The front door: every public name leads somewhere, and nothing heavy is imported before the first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nesy_gedi


@pytest.mark.parametrize("name", nesy_gedi.__all__)
def test_a_public_name_is_what_it_says(name: str) -> None:
    found = getattr(nesy_gedi, name)
    assert found.__name__ == name
    assert found.__module__ == nesy_gedi._PUBLIC[name], "it is imported from elsewhere than where it is defined"
    assert found.__doc__


def test_the_list_is_complete_and_in_order() -> None:
    assert nesy_gedi.__all__ == sorted(nesy_gedi._PUBLIC)
    assert set(nesy_gedi.__all__) <= set(dir(nesy_gedi))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"nesy_gedi.*has no attribute 'asign'"):
        nesy_gedi.asign  # noqa: B018


def test_nothing_heavy_is_imported_at_once() -> None:
    code = (
        "import sys, nesy_gedi; dir(nesy_gedi); nesy_gedi.NesyGediError\n"
        "print(sorted({'torch', 'problog', 'sklearn', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
