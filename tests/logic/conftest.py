"""Double precision, and hypothesis with the same examples in every run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fuzzing import FUZZ
from hypothesis import HealthCheck, settings

settings.register_profile(
    "logic",
    deadline=None,
    database=None,
    print_blob=True,
    derandomize=not FUZZ,
    # The fixtures here set what is the same for all examples of a test.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("logic")


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
