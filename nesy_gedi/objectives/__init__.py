"""Self-supervised objectives: losses of two views, and the sampler of the generative one."""

from __future__ import annotations

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.objectives.barlow_twins import BarlowTwins
from nesy_gedi.objectives.byol import Byol
from nesy_gedi.objectives.cissl import Cissl
from nesy_gedi.objectives.dino import Dino
from nesy_gedi.objectives.dissl import Dissl
from nesy_gedi.objectives.falcon import Falcon
from nesy_gedi.objectives.gedi import Gedi
from nesy_gedi.objectives.objective import Objective
from nesy_gedi.objectives.simclr import SimClr
from nesy_gedi.objectives.simsiam import SimSiam
from nesy_gedi.objectives.swav import Swav
from nesy_gedi.objectives.vicreg import VicReg

OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind for kind in (Gedi, Falcon, Swav, Dino, SimClr, Byol, SimSiam, BarlowTwins, VicReg, Dissl, Cissl)
}
"""Name -> objective."""


def find_objective(name: str) -> type[Objective]:
    """The objective of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"there is no objective {name}", hint=did_you_mean(name, OBJECTIVES))
    return OBJECTIVES[name]
