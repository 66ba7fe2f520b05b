"""Random views of a whole batch against torchvision's of one image at a time, and steps of the objectives against lightly.

    python benchmarks/views.py            # prints the tables and writes them into docs/performance.md
    python benchmarks/views.py --dry      # prints only
    python benchmarks/views.py --runs 20  # more steps to take the median of

One torch thread and no data-loading workers on either side; every ratio compares two measurements of the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import torch
import torchvision
from record import machine, markdown_table, median_seconds, write_section
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from nesy_gedi.data import Augmentation, augment
from nesy_gedi.objectives import Objective
from nesy_gedi.training.methods import Method, make_objective
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.pretrained import make_perception

METHODS = ("simclr", "swav", "barlow_twins", "vicreg", "dino", "byol", "simsiam")
"""Those of our objectives whose loss lightly has too."""

SHAPE = (1, 28, 28)
CLASSES = 10
PROGRESS = 0.5  # where in a training the measured steps are

ENOUGH_OF_A_CORE = 0.95
"""With less, long measurements are interrupted and short ones are not: their ratio says nothing."""

Loss = Callable[..., Tensor]
Transform = Callable[[Any], Tensor]


def random_images(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)


def torchvision_transform(strength: Augmentation) -> Transform:
    """The same kinds of change with the same strengths, of one image: a tensor or a PIL image."""
    return v2.Compose(
        [
            v2.RandomAffine(
                degrees=strength.rotation,
                translate=(strength.shift, strength.shift),
                scale=(1.0 - strength.scale, 1.0 + strength.scale),
                shear=math.degrees(math.atan(strength.shear)),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(sigma=strength.noise),
        ]
    )


def stack_views(transform: Transform, images: Sequence[Any]) -> Tensor:
    return torch.stack([transform(image) for image in images])


def augmentation_rows(side: int, batch: int, runs: int) -> tuple[list[list[object]], str]:
    """One view of each image; the rows, and which of torchvision's two kinds of image was the faster."""
    strength = Augmentation()
    images = random_images(batch, side)
    pictures = [v2.functional.to_pil_image(image) for image in images]
    transform = torchvision_transform(strength)
    seconds = median_seconds(
        lambda: augment(images, strength),
        lambda: stack_views(transform, images),
        lambda: stack_views(transform, pictures),
        runs=runs,
    )
    names = ("nesy-gedi, the whole batch", "torchvision v2, tensor by tensor", "torchvision v2, PIL by PIL")
    rows: list[list[object]] = [
        [f"{side}x{side}: {name}", f"{spent / batch * 1e6:.1f}", f"{spent / seconds[0]:.1f}"]
        for name, spent in zip(names, seconds, strict=True)
    ]
    return rows, "tensor" if seconds[1] < seconds[2] else "PIL"


def make_method(name: str) -> tuple[Method, int, float]:
    """What the default recipe makes for MNIST, its batch size and its learning rate."""
    recipe = load_pretrain_recipe(overrides={"objective": name, "data.source": "mnist"})
    stage = recipe.stages["features"]
    perception = make_perception(recipe, SHAPE, random_images(16, SHAPE[1]), CLASSES, trusted=False)
    objective = make_objective(stage, name, CLASSES, recipe.seed, "stages.features")
    features = perception.features(random_images(2, SHAPE[1])).shape[1]
    method = Method(perception, objective, features, stage.hidden, stage.output, pool=stage.pool)
    return method.train(), stage.batch_size, stage.learning_rate


def lightly_loss(objective: Objective) -> Loss:
    """Lightly's loss with the same constants, of what the objective takes, and with the same value."""
    from lightly import loss

    def scores(view: Tensor) -> Tensor:
        return F.normalize(view, dim=1) @ F.normalize(objective.prototypes, dim=1).T

    if objective.name == "simclr":
        info_nce = loss.NTXentLoss(temperature=objective.temperature)
        return lambda projection: info_nce(*projection)
    if objective.name == "swav":
        swapped = loss.SwaVLoss(objective.temperature, objective.iterations, objective.epsilon)
        return lambda projection: swapped([scores(view) for view in projection], []).squeeze()
    if objective.name == "barlow_twins":
        twins = loss.BarlowTwinsLoss(objective.redundancy)
        return lambda projection: twins(*projection)
    if objective.name == "vicreg":
        vicreg = loss.VICRegLoss(objective.invariance, objective.variance, objective.covariance)
        return lambda projection: vicreg(*projection)
    if objective.name == "dino":
        dino = loss.DINOLoss(
            objective.clusters,
            student_temp=objective.student_temperature,
            center_momentum=objective.centre_momentum,
        )
        return lambda projection, momentum: dino(list(momentum), list(projection), objective.temperature_now)
    cosine = loss.NegativeCosineSimilarity()
    if objective.name == "byol":
        return lambda prediction, momentum: (
            4.0 + 2.0 * (cosine(prediction[0], momentum[1]) + cosine(prediction[1], momentum[0]))
        )
    return lambda projection, prediction: (
        0.5 * (cosine(prediction[0], projection[1].detach()) + cosine(prediction[1], projection[0].detach()))
    )


def outputs_of(method: Method, view: Tensor) -> dict[str, Tensor]:
    """What a method's networks make of one view: lightly's examples pass views one after the other."""
    projection = method.projector(method.pool(method.perception.features(view)))
    outputs = {"projection": projection}
    if method.predictor is not None:
        outputs["prediction"] = method.predictor(projection)
    if method.teacher is not None:
        with torch.no_grad():
            perception, projector = method.teacher
            outputs["momentum"] = projector(method.pool(perception.features(view)))
    return outputs


def step_row(name: str, kind: str, runs: int) -> list[object]:
    """A whole step - views, networks, loss, backward, optimiser, teacher - and the loss with its backward alone."""
    from lightly.models.utils import update_momentum

    torch.manual_seed(0)
    method, batch, learning_rate = make_method(name)
    objective = method.objective
    objective.schedule(PROGRESS)
    theirs = lightly_loss(objective)
    images, strength = random_images(batch, SHAPE[1]), Augmentation()
    sources = images if kind == "tensor" else [v2.functional.to_pil_image(image) for image in images]
    transform = torchvision_transform(strength)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=learning_rate)

    def our_step(views: tuple[Tensor, Tensor] | None = None) -> None:
        optimizer.zero_grad()
        first, second = views or (augment(images, strength), augment(images, strength))
        objective(**method(first, second)).backward()
        optimizer.step()
        method.update_teacher(PROGRESS)

    def their_step(views: tuple[Tensor, Tensor] | None = None) -> None:
        optimizer.zero_grad()
        seen = [outputs_of(method, view) for view in views or [stack_views(transform, sources) for _ in range(2)]]
        theirs(**{part: (seen[0][part], seen[1][part]) for part in objective.takes}).backward()
        optimizer.step()
        if method.teacher is not None:
            momentum = objective.momentum(PROGRESS)
            for student, teacher in zip((method.perception, method.projector), method.teacher, strict=True):
                update_momentum(student, teacher, momentum)

    given = (augment(images, strength), augment(images, strength))
    outputs = {
        part: tuple(view.detach().requires_grad_(part != "momentum") for view in pair)
        for part, pair in method(*given).items()
    }
    objective.eval()  # what is measured next may not move the centre of the one that is compared
    difference = abs(float(objective(**outputs).detach()) - float(theirs(**outputs).detach()))
    objective.train()
    if difference > 1e-3:
        raise SystemExit(f"{name}: the two losses differ by {difference:.2g}: they are not the same method")
    whole = median_seconds(our_step, their_step, runs=runs)
    alone = median_seconds(lambda: our_step(given), lambda: their_step(given), runs=runs)
    losses = median_seconds(
        lambda: objective(**outputs).backward(), lambda: theirs(**outputs).backward(), runs=20 * runs, warm_up=10
    )
    row: list[object] = [name]
    for (mine, other), digits in ((whole, 0), (alone, 0), (losses, 2)):
        row += [f"{mine * 1e3:.{digits}f}", f"{other * 1e3:.{digits}f}", f"{other / mine:.2f}"]
    return [*row, f"{difference:.0e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="steps to take the median of")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    if importlib.util.find_spec("lightly") is None:
        raise SystemExit("lightly is not installed, which this benchmark compares with: pip install 'nesy-gedi[bench]'")
    torch.set_num_threads(1)
    batch = 256
    wall, own = time.perf_counter(), time.process_time()
    large, kind = augmentation_rows(SHAPE[1], batch, options.runs)
    small, _ = augmentation_rows(8, batch, options.runs)
    views = markdown_table([f"a view of each of {batch} images", "µs per image", "ratio to nesy-gedi"], large + small)
    header = ["objective"]
    for what in ("step", "step, views given", "loss alone"):
        header += [f"{what}: nesy-gedi, ms", "lightly, ms", "ratio"]
    steps = markdown_table([*header, "difference"], [step_row(name, kind, options.runs) for name in METHODS])
    share = (time.process_time() - own) / (time.perf_counter() - wall)
    text = (
        f"`python benchmarks/views.py` on {machine()}, torchvision {torchvision.__version__}, lightly "
        f"{version('lightly')}. One thread and no data-loading workers on either side; medians of {options.runs} steps "
        f"that take turns; the process had {share:.0%} of a core.\n\n{views}\n\n"
        f"A step is two views of each of {batch} images of 28x28, the default recipe's networks, the loss, backward, "
        f"Adam, and the teacher where there is one. *lightly* is its loss class on the same networks, each view passed "
        f"by itself as in its examples, and torchvision's views ({kind}, the faster kind). *Difference* is that of the "
        f"two losses' values on the same outputs. A ratio above 1 says that nesy-gedi is faster.\n\n{steps}"
    )
    print(text)
    if share < ENOUGH_OF_A_CORE:
        raise SystemExit(f"not written: other processes left {share:.0%} of a core, which flatters what is short")
    if not options.dry:
        write_section("docs/performance.md", "views", text)


if __name__ == "__main__":
    main()
