"""Can a score tell samples of the training distribution from others?"""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.errors import DataError


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve: how often a sample of the distribution scores higher than one from elsewhere.

    Ties count one half, so that equal scores give 0.5. Infinite scores are scores; 1 is best, 0.5 is chance, and below
    0.5 the score points the wrong way, as likelihoods of images often do (Nalisnick et al., ICLR 2019).

    Args:
        inside: (n,) scores of samples of the distribution, higher meaning more of it, for instance lse(z(x)).
        outside: (m,) scores of samples from elsewhere.

    Raises:
        DataError: no scores on one side, other shapes, or NaN.
    """
    from sklearn.metrics import roc_auc_score  # takes over a second to import

    for name, scores in (("inside", inside), ("outside", outside)):
        if scores.dim() != 1 or len(scores) == 0:
            raise DataError(
                f"{name} scores have shape {tuple(scores.shape)}, expected (n,) with n at least 1",
                hint="give one number a sample",
            )
        if bool(scores.isnan().any()):
            raise DataError(
                f"{int(scores.isnan().sum())} of {len(scores)} {name} scores are NaN",
                hint="look for the layer that made them, or leave these samples out",
            )
    scores = torch.cat([inside.detach().cpu().double(), outside.detach().cpu().double()])
    ranks = scores.unique(return_inverse=True)[1]  # scikit-learn refuses infinite scores; ranks are never
    return float(roc_auc_score([1] * len(inside) + [0] * len(outside), ranks.numpy()))
