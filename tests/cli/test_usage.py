"""Wrong options and wrong recipes: exit code 2 and nothing written."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_runs import TINY, Run, nothing_but

from nesy_gedi.cli.main import main
from nesy_gedi.errors import UsageError

DIGIT_NET = "--set", "networks.digit_net.head=none", "--encoder"

WRONG = [
    (["train"], "no program"),
    (["trian", "addition"], "'train'"),
    (["train", "addition", "extra"], "unexpected extra argument"),
    (["train", "addition", "--epoch-count", "3"], "No such option"),
    (["train", "addition", "--epochs", "0"], "'--epochs': 0 is not in the range"),
    (["train", "addition", "--epochs", "ten"], "'--epochs': 'ten' is not a valid integer"),
    (["train", "addition", "--limit", "0"], "'--limit': 0 is not in the range"),
    (["train", "addition", "--limit", "-1"], "'--limit': -1 is not in the range"),
    (["train", "addition", "--seed", "-1"], "'--seed': -1 is not in the range"),
    (["train", "addition", "--seed", str(2**63)], "seed must be less than"),
    (["train", "addition", "--device", "banana"], "unknown device banana\nhint: valid: auto, cpu, cuda, cuda:N, mps"),
    (["train", "addition", "--device", "cuda:97"], "there is no cuda:97"),
    (["evaluate", "run", "--encoder", "digit_net"], "expected NET=SPEC, found 'digit_net'"),
    (["train", "addition", "--encoder", "digit_net"], "expected NET=SPEC, found 'digit_net'"),
    (["train", "addition", "--encoder", "digit_net="], "expected NET=SPEC, found 'digit_net='"),
    (["train", "addition", "--encoder", "=conv"], "expected NET=SPEC, found '=conv'"),
    (["train", "addition", "--encoder", "digitnet=conv"], "did you mean digit_net?"),
    (["train", "addition", "--encoder", "digit_net=resnet"], "there is no encoder resnet"),
    (["train", "addition", "--encoder", "digit_net=no_such_module:factory"], "No module named 'no_such_module'"),
    (["train", "addition", "--set", "training.epochs"], "expected key=value, found 'training.epochs'"),
    (["train", "addition", "--set", "=3"], "expected key=value"),
    (["train", "addition", "--set", "training.epoch=3"], "unknown key epoch in [training]\nhint: did you mean epochs?"),
    (
        ["train", "addition", "--set", "training.epochs=many"],
        "training.epochs is a whole number, not the string 'many'",
    ),
    (["train", "addition", "--set", "training=3"], "training is a table"),
    (["train", "addition", "--set", "training.batch_size=0"], "batch_size must be positive, not 0"),
    (["train", "addition", "--set", "training.learning_rate=nan"], "learning_rate must be positive, not nan"),
    (["train", "addition", "--set", "training.precision=8"], "training.precision"),
    (["train", "addition", "--set", "networks.digit_net.head=deep"], "there is no head deep"),
    (["train", "addition", "--set", "networks.digit_net.output=words"], "a network cannot return words"),
    (["train", "addition", "--set", "networks.digit_net.attribute=colour"], "no attribute colour"),
    (["train", "addition", "--set", "networks.letter_net.head=none"], "a network letter_net"),
    (["train", "addition", "--data", "minst"], "did you mean mnist?"),
    (["programs", "extra"], "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(arguments)[:60] for arguments, _ in WRONG])
def test_wrong_usage(run: Run, arguments: list[str], said: str) -> None:
    more = ["--out", "out"] if arguments[:2] == ["train", "addition"] else []
    run(*arguments, *more).failed(2, said)
    nothing_but()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_explicit_device_that_is_missing(run: Run) -> None:
    run("train", "addition", "--device", "cuda").failed(2, "there is no cuda: 0 CUDA devices found", "hint:")


def test_unknown_key_in_the_recipe_file(run: Run, write: Callable[[str, str], Path]) -> None:
    write("own.pl", "nn(net, [X], Y, [0..9]) :: digit(X, Y).\n")
    write("own.toml", 'query = "digit(X, Y)"\n\n[training]\nepoch = 3\n')
    run("train", "own.pl").failed(2, "own.toml:4", "unknown key epoch in [training]", "    epoch = 3", "epochs")
    write("own.toml", "query = \n")
    run("train", "own.pl").failed(2, "own.toml:1:9", "not valid TOML", "^")
    nothing_but("own.pl", "own.toml")


def test_a_recipe_may_not_name_python(run: Run, write: Callable[[str, str], Path]) -> None:
    write("own.pl", "nn(net, [X], Y, [0..9]) :: digit(X, Y).\n")
    write("own.toml", 'query = "digit(X, Y)"\n\n[networks.net]\nencoder = "antigravity:fly"\n')
    run("train", "own.pl").failed(2, "names Python code as an encoder: antigravity:fly", "--trust", "--encoder")
    assert "antigravity" not in sys.modules


ENCODERS = """
import torch
from torch import nn

class Returns(nn.Module):
    def __init__(self, width, change):
        super().__init__()
        self.linear = nn.Linear(64, width)
        self.change = change
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.change(self.linear(images.flatten(1)), self.calls)

def seven_wide(): return Returns(7, lambda values, _: values)
def unnormalised(): return Returns(10, lambda values, _: values.sigmoid())
def later_unnormalised(): return Returns(10, lambda values, calls: values.softmax(1) * (1.0 if calls < 3 else 1.4))
def not_a_number(): return Returns(10, lambda values, _: values * float("nan"))
def nothing(): return Returns(10, lambda values, _: None)
def for_larger_images(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
def not_a_module(): return 3
def failing(): raise ValueError("no such weights")
def good(): return Returns(10, lambda values, _: values)
"""


@pytest.fixture
def encoders(write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write("my_encoders.py", ENCODERS)
    spec = importlib.util.spec_from_file_location("my_encoders", "my_encoders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "my_encoders", module)


@pytest.mark.usefixtures("encoders")
@pytest.mark.parametrize(
    ("factory", "output", "code", "said"),
    [
        ("seven_wide", "logits", 1, "network digit_net: the network returns (7,) values an image, its domain has 10"),
        ("unnormalised", "probabilities", 1, "network digit_net: the network declares probabilities, but a row sums"),
        ("later_unnormalised", "probabilities", 1, "network digit_net: the network declares probabilities, but a row"),
        ("not_a_number", "logits", 1, "the loss became nan in epoch 1"),
        ("nothing", "logits", 1, "network digit_net: the network returns NoneType"),
        (
            "for_larger_images",
            "logits",
            2,
            "network digit_net: the encoder my_encoders:for_larger_images does not take",
        ),
        ("not_a_module", "logits", 2, "returned int, not a torch.nn.Module"),
        ("failing", "logits", 2, "ValueError: no such weights"),
        ("absent", "logits", 2, "no attribute 'absent'"),
    ],
)
def test_encoder_that_does_not_fit(run: Run, factory: str, output: str, code: int, said: str) -> None:
    outcome = run(
        "train", "addition", *TINY, "--quiet", "--out", "out",
        *DIGIT_NET, f"digit_net=my_encoders:{factory}", "--set", f"networks.digit_net.output={output}",
    )  # fmt: skip
    outcome.failed(code, said)
    nothing_but("my_encoders.py")


@pytest.mark.usefixtures("encoders")
def test_own_encoder_is_trusted_by_name_or_by_trust(run: Run) -> None:
    own = (*DIGIT_NET, "digit_net=my_encoders:good")
    assert run("train", "addition", *TINY, *own, "--out", "out").code == 0
    for command in (["evaluate", "out"], ["train", "--resume", "out"]):
        run(*command).failed(2, "names Python code as an encoder", "--trust")
        for allowed in (["--trust"], ["--encoder", "digit_net=my_encoders:good"]):
            outcome = run(*command, *allowed)
            assert outcome.code == 0, outcome.err


def test_more_queries_than_memory_holds(run: Run) -> None:
    run("train", "addition", "--limit", "99999999999999").failed(1, "99999999999999 queries are too many", "hint:")
    nothing_but()


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(UsageError):
        main(["train", "additoin", "--debug"])


@pytest.mark.parametrize("code", ["import nesy_gedi", "from nesy_gedi.cli.main import main; main(['--help'])"])
def test_starts_without_the_heavy_packages(code: str) -> None:
    check = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'torchvision', 'problog', 'sklearn', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
