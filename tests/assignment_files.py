"""What ``assignment.json`` holds, without pretraining anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def assignment(**changes: Any) -> dict[str, Any]:
    """What ``assignment.json`` holds of seven clusters, of which two are 3, none is surely 2, and one is hardly seen."""
    rows = {0: {0: 1.0}, 1: {1: 1.0}, 2: {3: 0.6, 2: 0.4}, 3: {2: 0.6, 3: 0.4}, 4: {3: 1.0}, 5: {4: 1.0}}
    posterior = [[rows.get(k, {}).get(symbol, 0.0 if k in rows else 0.2) for symbol in range(5)] for k in range(7)]
    network = {
        "clusters": 7,
        "map": ["0", "1", "3", "2", "3", "4", "0"],
        "runner_up": ["0", "1", "2", "3", "3", "4", "0"],
        "posterior": posterior,
        "domain": ["0", "1", "2", "3", "4"],
        "uninformed": [6],
    }
    return {
        "version": 1,
        "networks": {"digit_net": network},
        "log_likelihood": -12.5,
        "runner_up_log_likelihood": -12.5 - math.log(1.5),
        "gap": math.log(1.5),
        "exact": True,
        "near_ties": 2,
        "more_near_ties": False,
        "labels_to_ask": [{"network": "digit_net", "cluster": 2, "symbols": ["3", "2"], "typical": list(range(8))}],
        "sentences": [
            "60 answers do not settle what every cluster is: 2 assignments fit about equally well.",
            "The other one: cluster 2 is 2 instead of 3, cluster 3 is 3 instead of 2.",
            "One label settles it: that of an image of cluster 2 of digit_net: is it 3 or 2?",
        ],
        "alternatives": ["The other one: cluster 2 is 2 instead of 3, cluster 3 is 3 instead of 2."],
        "answers": 60,
        "labels": 0,
        "seconds": 0.5,
        "query_to_ask": None,
        "unlikely": False,
        "time": {"pretraining_s": 2.0, "assignment_s": 0.5},
        "pretraining": {"digit_net": "pretraining/digit_net"},
    } | changes


def write_assignment(folder: Path, content: Any) -> None:
    (folder / "assignment.json").write_text(json.dumps(content), encoding="utf-8")
