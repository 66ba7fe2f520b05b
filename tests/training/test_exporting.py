"""An export computes what the run computes: the same bits in plain PyTorch, within 1e-5 in ONNX Runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SLIPPING, SMALL, read_once, train_small, with_training
from small_symbols import CLUSTERED, train_symbols, with_network
from torch import Tensor

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import DataError, NesyGediWarning, RunError, UsageError
from nesy_gedi.networks.cards import read_card
from nesy_gedi.training import exporting
from nesy_gedi.training.diagnosis import diagnose_encoder
from nesy_gedi.training.exported_networks import load_definition
from nesy_gedi.training.exporting import Exported, export_run
from nesy_gedi.training.onnx_files import TOLERANCE
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.recipe import DataRecipe, EnsembleRecipe, NetworkRecipe, Recipe
from nesy_gedi.training.restoring import restore_run
from nesy_gedi.training.training import Trained, train

BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not to be imported")

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(autouse=True)
def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "load_images", lambda name, **_: read_once(name))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run whose program has a learned probability; read only."""
    return train_small(tmp_path_factory.mktemp("exported") / "run", text=SLIPPING)


@pytest.fixture(scope="module")
def exported(trained: Trained) -> Exported:
    """All of it, with ONNX; read only."""
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "load_images", lambda name, **_: read_once(name))
        return export_run(trained.run.path, trained.run.path.with_name("export"))


def elsewhere(code: str, *blocked: str) -> None:
    """Run code in a Python of its own, in which some packages cannot be imported."""
    text = BLOCKER.format(blocked=set(blocked)) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_encoder_gives_the_same_bits_where_this_package_cannot_be_imported(
    trained: Trained, exported: Exported, digits: ImageSplits, tmp_path: Path
) -> None:
    perception = trained.networks["digit_net"]
    images = digits.test.images[:200]
    with torch.no_grad():
        wanted = {"features": perception.features(images), "log_p": perception(images)}
    np.savez(tmp_path / "wanted.npz", images=images.numpy(), **{key: each.numpy() for key, each in wanted.items()})
    elsewhere(
        f"""
        import sys
        import numpy as np
        import torch
        torch.set_num_threads(1)
        sys.path.insert(0, {str(exported.path / "digit_net")!r})
        from encoder import DOMAIN, Network, load
        from safetensors.torch import load_file
        wanted = np.load({str(tmp_path / "wanted.npz")!r})
        weights = load_file({str(exported.path / "digit_net" / "encoder.safetensors")!r})
        assert "stages.0.weight" in weights
        Network().load_state_dict(weights, strict=True)
        encoder = load()
        assert not encoder.training and len(DOMAIN) == 10
        images = torch.from_numpy(wanted["images"])
        with torch.no_grad():
            for given in (images, images.float() / 255.0):
                assert torch.equal(encoder(given), torch.from_numpy(wanted["features"]))
                assert torch.equal(encoder.log_probabilities(given), torch.from_numpy(wanted["log_p"]))
            assert torch.equal(encoder.probabilities(images), torch.from_numpy(wanted["log_p"]).exp())
        assert encoder.symbols(images[:3]) == [DOMAIN[k] for k in wanted["log_p"][:3].argmax(1)]
        try:
            encoder(torch.zeros(2, 1, 9, 9))
        except ValueError as error:
            assert "(1, 8, 8)" in str(error)
        else:
            raise AssertionError
        assert not [name for name in sys.modules if name.startswith("nesy_gedi")]
        """,
        "nesy_gedi",
    )


def test_onnx_runtime_gives_the_features_without_torch(
    trained: Trained, exported: Exported, digits: ImageSplits, tmp_path: Path
) -> None:
    perception = trained.networks["digit_net"]
    images = digits.test.images[:200]
    with torch.no_grad():
        features, log_p = perception.features(images), perception(images)
    np.savez(tmp_path / "wanted.npz", images=images.numpy(), features=features.numpy(), log_p=log_p.numpy())
    elsewhere(
        f"""
        import numpy as np
        import onnxruntime
        wanted = np.load({str(tmp_path / "wanted.npz")!r})
        session = onnxruntime.InferenceSession({str(exported.path / "digit_net" / "encoder.onnx")!r})
        assert [each.name for each in session.get_outputs()] == ["features", "log_probabilities"]
        for rows in (200, 7, 1):
            images = wanted["images"][:rows].astype(np.float32) / np.float32(255)
            features, log_p = session.run(None, {{"images": images}})
            assert np.abs(features - wanted["features"][:rows]).max() <= {TOLERANCE} * max(1, features.max())
            assert np.abs(log_p - wanted["log_p"][:rows]).max() <= {TOLERANCE} * max(1, np.abs(log_p).max())
        """,
        "nesy_gedi",
        "torch",
    )
    card = read_card(exported.path / "digit_net" / "encoder.safetensors")
    assert 0.0 < (card.metrics["onnx_features_difference"] or 0.0) <= TOLERANCE * float(features.max())


def test_answers_in_onnx_and_torch_export_are_the_reasoners(
    trained: Trained, exported: Exported, digits: ImageSplits
) -> None:
    import onnxruntime

    described = json.loads((exported.path / "answers.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in described["inputs"]] == ["X", "Y"]
    assert described["answers"] == list(trained.task.reasoner.answers)
    assert described["learned"] == trained.task.reasoner.learned.probabilities()
    x, y = digits.test.images[:50].float() / 255.0, digits.test.images[50:100].float() / 255.0
    perception = trained.networks["digit_net"]
    with torch.no_grad():
        wanted = trained.task.reasoner({"X": perception(x), "Y": perception(y)})
        loaded = torch.export.load(exported.path / "answers.pt2").module()(x, y)
    session = onnxruntime.InferenceSession(exported.path / "answers.onnx")
    (in_onnx,) = session.run(["log_probabilities"], {"X": x.numpy(), "Y": y.numpy()})
    for found in (loaded, torch.from_numpy(in_onnx)):
        torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(found.exp(), wanted.exp(), atol=1e-6, rtol=0.0)


def test_what_the_page_says_runs(exported: Exported) -> None:
    page = (exported.path / "README.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 4
    code = f"import os\nos.chdir({str(exported.path)!r})\n" + "\n".join(blocks) + "\nassert log_p.shape == (4, 20)"
    elsewhere(code, "nesy_gedi")
    shutil.rmtree(exported.path / "digit_net" / "__pycache__", ignore_errors=True)


def test_the_folder_and_its_card_say_where_it_comes_from(trained: Trained, exported: Exported) -> None:
    files = {path.relative_to(exported.path).as_posix() for path in exported.path.rglob("*") if path.is_file()}
    manifest = json.loads((exported.path / "export.json").read_text(encoding="utf-8"))
    assert files == {"export.json", *manifest["files"]}
    assert exported.document["networks"] == manifest["networks"]
    card = read_card(exported.path / "digit_net" / "encoder.safetensors")
    assert (card.objective, card.data, card.program, card.seed) == ("answers", "digits", "addition", SMALL.seed)
    assert card.domain == tuple("0123456789")
    assert card.clusters is None
    assert card.input.mean == tuple(trained.networks["digit_net"].mean.tolist())
    assert card.features == 16
    assert card.architecture.arguments == {"features": 16, "width": 0, "normalisation": "batch"}
    assert card.metrics["answer_accuracy"] == trained.document["metrics"]["answer_accuracy"]
    for file in exported.path.rglob("*"):  # a travelling folder does not say where it was made
        assert str(Path.home()) not in file.name
        if file.is_file():
            assert str(trained.run.path.parent).encode() not in file.read_bytes()


def same_bits(folder: Path, perception: torch.nn.Module, images: Tensor) -> None:
    """The definition in ``folder`` against the network of the run."""
    encoder = load_definition(folder)
    with torch.no_grad():
        assert torch.equal(encoder(images), perception.features(images))  # type: ignore[operator]
        assert torch.equal(encoder.log_probabilities(images), perception(images))


def test_several_networks_and_only_one_of_them(tmp_path: Path, shapes: ImageSplits) -> None:
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.bundled import find_program
    from nesy_gedi.training.recipe import load_recipe

    found = find_program("crossing")
    recipe = load_recipe(found.recipe)
    small = replace(recipe, method="answers", data=replace(recipe.data, train=40, validation=16, test=16))
    run = train(Program.load(found.path), with_training(small, epochs=1), out=tmp_path / "run", device="cpu")
    export_run(run.run.path, tmp_path / "all", onnx=False)
    for name in ("light_net", "sign_net"):
        same_bits(tmp_path / "all" / name, run.networks[name], shapes.test.images[:20])
    light, sign = (shapes.test.images[k : k + 20].float() / 255.0 for k in (0, 20))
    with torch.no_grad():
        wanted = run.task.reasoner({"L": run.networks["light_net"](light), "S": run.networks["sign_net"](sign)})
        found_p = torch.export.load(tmp_path / "all" / "answers.pt2").module()(light, sign)
    torch.testing.assert_close(found_p, wanted, atol=TOLERANCE, rtol=TOLERANCE)
    export_run(run.run.path, tmp_path / "one", network="sign_net", onnx=False)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["README.md", "export.json", "sign_net"]
    with pytest.raises(UsageError, match=r"no network signnet\n.*did you mean sign_net"):
        export_run(run.run.path, tmp_path / "none", network="signnet", onnx=False)
    assert not (tmp_path / "none").exists()


def test_a_pretraining_gives_its_encoder_alone(pretrained: Pretrained, digits: ImageSplits, tmp_path: Path) -> None:
    export_run(pretrained.run.path, tmp_path / "out", onnx=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "encoder", "export.json"]
    same_bits(tmp_path / "out" / "encoder", load_perception(pretrained.run.path), digits.test.images[:50])
    card = read_card(tmp_path / "out" / "encoder" / "encoder.safetensors")
    assert (card.domain, card.program, card.metrics["ami"]) == ((), "", pretrained.document["metrics"]["ami"])


def test_clusters_and_the_symbols_that_they_stand_for(tmp_path: Path, digits: ImageSplits) -> None:
    recipe = with_network(replace(CLUSTERED, method="assignment"), clusters=6)
    run = train_symbols(tmp_path / "run", recipe)
    export_run(run.run.path, tmp_path / "out", onnx=False)
    same_bits(tmp_path / "out" / "digit_net", run.networks["digit_net"], digits.test.images[:50])
    card = read_card(tmp_path / "out" / "digit_net" / "encoder.safetensors")
    record = json.loads(run.run.assignment_file.read_text(encoding="utf-8"))
    assert card.clusters == tuple(record["networks"]["digit_net"]["map"])
    assert len(card.clusters) == 6


@pytest.mark.parametrize(("precision", "kept"), [("64-true", torch.float64), ("bf16-true", torch.float32)])
def test_double_precision_stays_and_half_is_widened(
    precision: str, kept: torch.dtype, tmp_path: Path, digits: ImageSplits
) -> None:
    run = train_small(tmp_path / "run", with_training(precision=precision, epochs=1))
    export_run(run.run.path, tmp_path / "out", onnx=False)
    encoder = load_definition(tmp_path / "out" / "digit_net")
    images = digits.test.images[:50]
    with torch.no_grad():
        features = encoder(images)
        wanted = run.networks["digit_net"].to(kept).features(images)
    assert features.dtype == kept
    assert torch.equal(features, wanted)
    weights = load_file(tmp_path / "out" / "digit_net" / "encoder.safetensors")
    assert weights["stages.0.weight"].dtype == kept
    assert restore_run(run.run).networks["digit_net"].mean.dtype == kept
    assert diagnose_encoder(run.run.path, device="cpu")["networks"]["digit_net"]["images"] == len(digits.test)


OWN = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5))
"""


def test_an_encoder_of_ones_own_is_imported_by_its_definition(
    tmp_path: Path, digits: ImageSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_layers.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = replace(SMALL, networks={"digit_net": NetworkRecipe(encoder="own_layers:make")})
    run = train_small(tmp_path / "run", with_training(recipe, epochs=1))
    with pytest.raises(UsageError, match="the recipe names Python code"):
        export_run(run.run.path, tmp_path / "out", onnx=False)
    assert not (tmp_path / "out").exists()
    export_run(run.run.path, tmp_path / "out", onnx=False, encoders={"digit_net": "own_layers:make"})
    same_bits(tmp_path / "out" / "digit_net", run.networks["digit_net"], digits.test.images[:50])
    text = (tmp_path / "out" / "digit_net" / "encoder.py").read_text(encoding="utf-8")
    assert "from own_layers import make" in text
    assert "own_layers.make must be importable" in text
    card = read_card(tmp_path / "out" / "digit_net" / "encoder.safetensors")
    assert (card.architecture.kind, card.architecture.name) == ("python", "own_layers:make")


def test_an_encoder_that_draws_at_random_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import torch\nfrom torch import nn\nclass Drawn(nn.Linear):\n    def forward(self, x):\n"
    text += "        return super().forward(x) + torch.rand(len(x), 1)\n"
    text += "def make():\n    return nn.Sequential(nn.Flatten(), Drawn(64, 12))\n"
    (tmp_path / "drawn_layers.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = replace(SMALL, networks={"digit_net": NetworkRecipe(encoder="drawn_layers:make")})
    run = train_small(tmp_path / "run", with_training(recipe, epochs=1))
    with pytest.raises(RunError, match="other features than the run"):
        export_run(run.run.path, tmp_path / "out", onnx=False, trusted=True)
    assert sorted(path.name for path in tmp_path.glob("*out*")) == []


XOR = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
low(X) :- digit(X, D), D < 5.
same(X, Y, yes) :- low(X), low(Y).
same(X, Y, yes) :- \\+ low(X), \\+ low(Y).
same(X, Y, no) :- low(X), \\+ low(Y).
same(X, Y, no) :- \\+ low(X), low(Y).
"""


def test_each_member_of_an_ensemble_has_a_folder_and_answers_are_their_mean(
    tmp_path: Path, digits: ImageSplits
) -> None:
    recipe = replace(SMALL, query="same(X, Y, Answer)", ensemble=EnsembleRecipe(members=3))
    run = train_small(tmp_path / "run", with_training(recipe, epochs=1), XOR)
    export_run(run.run.path, tmp_path / "out", onnx=False)
    x, y = digits.test.images[:30].float() / 255.0, digits.test.images[30:60].float() / 255.0
    members = []
    for number in (1, 2, 3):
        encoder = load_definition(tmp_path / "out" / f"digit_net-{number}")
        with torch.no_grad():
            members.append(run.task.reasoner({"X": encoder.log_probabilities(x), "Y": encoder.log_probabilities(y)}))
    with torch.no_grad():
        found = torch.export.load(tmp_path / "out" / "answers.pt2").module()(x, y)
        together = run.networks["digit_net"](x)
    torch.testing.assert_close(found.exp(), torch.stack(members).exp().mean(0), atol=1e-6, rtol=0.0)
    assert together.shape == (30, 10)


TOTAL = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
nn(total_net, [S], Y, [0..18]) :: total(S, Y).
adds_up(X, Y, S) :- digit(X, A), digit(Y, B), C is A + B, total(S, C).
"""


def test_observed_values_are_numbers_in_their_domain(tmp_path: Path, digits: ImageSplits) -> None:
    networks = {"digit_net": NetworkRecipe(features=16), "total_net": NetworkRecipe(observed=True)}
    recipe = Recipe(
        query="adds_up(X, Y, S)",
        slots=("X", "Y", "S"),
        method="answers",
        data=DataRecipe(train=40, validation=16, test=16),
        networks=networks,
    )
    run = train_small(tmp_path / "run", with_training(recipe, epochs=1), TOTAL)
    export_run(run.run.path, tmp_path / "out", onnx=False)
    inputs = json.loads((tmp_path / "out" / "answers.json").read_text(encoding="utf-8"))["inputs"]
    assert [(each["name"], each["kind"], each["dtype"]) for each in inputs] == [
        ("X", "image", "float32"),
        ("Y", "image", "float32"),
        ("S", "value", "int64"),
    ]
    assert inputs[2]["domain"] == [str(k) for k in range(19)]
    x, y = digits.test.images[:19].float() / 255.0, digits.test.images[19:38].float() / 255.0
    with torch.no_grad():
        found = torch.export.load(tmp_path / "out" / "answers.pt2").module()(x, y, torch.arange(19))
        p = [run.networks["digit_net"](each).double().exp() for each in (x, y)]
    for total in range(19):
        pairs = [(a, total - a) for a in range(10) if 0 <= total - a < 10]
        expected = sum(float(p[0][total, a] * p[1][total, b]) for a, b in pairs)
        assert float(found[total, 0].exp()) == pytest.approx(expected, abs=1e-6)


def test_a_run_whose_data_is_gone(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str, **_: object) -> ImageSplits:
        raise DataError(f"{name} is not there")

    monkeypatch.setattr(exporting, "load_images", gone)
    with pytest.warns(NesyGediWarning, match="digits is not there; what is exported is tried on random images"):
        exported = export_run(trained.run.path, tmp_path / "out", network="digit_net", onnx=False)
    assert exported.document["checked_on"] == "random images"


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def no_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def damaged_weights(run: Path) -> None:
    for file in run.glob("checkpoints/*/model.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])


def other_program(run: Path) -> None:
    (run / "program.pl").write_text("a.\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_checkpoints, "has learned nothing yet.*\n.*train --resume"),
        (damaged_weights, "the checkpoint is damaged"),
        (other_program, "not the program that this run was trained with"),
    ],
)
def test_runs_that_cannot_be_exported(
    damage: Callable[[Path], None], said: str, trained: Trained, tmp_path: Path
) -> None:
    run = copy_of(trained.run.path, tmp_path / "run")
    damage(run)
    with pytest.raises(RunError, match=said):
        export_run(run, tmp_path / "out", onnx=False)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_an_unfinished_run_says_so(trained: Trained, tmp_path: Path) -> None:
    run = copy_of(trained.run.path, tmp_path / "run")
    (run / "result.json").unlink()
    with pytest.warns(NesyGediWarning, match="the run is not finished"):
        exported = export_run(run, tmp_path / "out", network="digit_net", onnx=False)
    assert exported.document["finished"] is False
    assert "The run was not finished" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_without_the_packages_of_onnx(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r'pip install "nesy-gedi\[onnx\]", or leave ONNX out: --no-onnx'):
        export_run(trained.run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
