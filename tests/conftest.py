"""What holds for every test: one thread, a fixed seed, and a circuit cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NESY_GEDI_CACHE", str(tmp_path / "circuit-cache"))
    torch.manual_seed(0)
