"""Nothing is looked up or connected to: a training, a pretraining and the reports, with the packages that could."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_runs import TINY, TINY_PRETRAIN

WATCHED = """
import importlib, sys

tried = []

def watch(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if isinstance(given[1], tuple):  # an address, not a socket of this machine
            tried.append((event, str(given[1])))
            raise OSError("no network here")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        tried.append((event, str(given[0])))
        raise OSError("no network here")

sys.addaudithook(watch)
for name in ("timm", "huggingface_hub"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass

from nesy_gedi.cli.main import main

def command(*arguments):
    try:
        main(arguments)
    except SystemExit as left:
        assert left.code == 0, (arguments, left.code)

"""

COMMANDS = f"""
command("train", "addition", *{TINY!r}, "--quiet", "--out", "run")
command("pretrain", *{TINY_PRETRAIN!r}, "--quiet", "--out", "pretraining")
command("inspect", "run", "--json")
assert __import__("pathlib").Path("run/report.html").exists()
"""

TELL = "print('tried:', tried)\n"

ONE_LOOK_UP = """
import socket
try:
    socket.create_connection(("nobody.invalid", 80), timeout=0.1)
except OSError:
    pass
"""


def said_at_last(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_nothing_is_called() -> None:
    assert said_at_last(WATCHED + COMMANDS + TELL) == "tried: []"
    assert Path("run/report.html").exists()


def test_a_call_would_be_noticed() -> None:
    without_packages = WATCHED.split("from nesy_gedi")[0].replace('("timm", "huggingface_hub")', "()")
    assert said_at_last(without_packages + ONE_LOOK_UP + TELL) == "tried: [('socket.getaddrinfo', 'nobody.invalid')]"
