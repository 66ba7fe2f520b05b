"""Wrong and partial downloads, from a server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import pytest

from nesy_gedi.data import checking, files, load_images
from nesy_gedi.data.cards import Card
from nesy_gedi.data.checking import check_files
from nesy_gedi.data.files import verified_files
from nesy_gedi.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


class Server:
    """Serves files, each as it is or damaged, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.promised: dict[str, int] = {}
        self.asked: list[str] = []


@pytest.fixture
def server(small_mnist: tuple[Card, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    card, source = small_mnist
    served = Server()
    served.content = {name: (source / name).read_bytes() for name in card.files}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            if name not in served.content:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(served.promised.get(name, len(served.content[name]))))
            self.end_headers()
            if self.command == "GET":
                served.asked.append(name)
                self.wfile.write(served.content[name])

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(files, "_mirrors", lambda card: {name: [f"{address}/{name}"] for name in card.files})
    monkeypatch.setattr(checking, "load_card", lambda name: card)
    yield served
    http.shutdown()
    http.server_close()


@pytest.fixture
def copy(small_mnist: tuple[Card, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the published files in a data folder, below it in a given place."""

    def make(place: str) -> Path:
        return copytree(small_mnist[1], tmp_path / "root" / place, dirs_exist_ok=True)

    return make


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:-9], "empty": b"", "flipped": content[:-1] + b"?"}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped", "missing"])
@pytest.mark.parametrize("place", ["mnist", ".", "MNIST/raw"])
def test_only_what_is_wrong_is_fetched(
    how: str, place: str, small_mnist: tuple[Card, Path], copy: Callable[[str], Path], server: Server, tmp_path: Path
) -> None:
    folder = copy(place)
    damage(folder / IMAGES, how)
    right = (folder / LABELS).stat().st_mtime_ns
    with pytest.raises(DataError) as caught:
        load_images("mnist", data_dir=tmp_path / "root")
    assert "--download" in str(caught.value.hint)
    assert server.asked == []
    assert len(load_images("mnist", data_dir=tmp_path / "root", download=True).train) == 12
    assert set(server.asked) == {IMAGES}
    assert (folder / LABELS).stat().st_mtime_ns == right
    assert {path.name for path in folder.iterdir() if path.is_file()} == set(small_mnist[0].files)
    server.asked.clear()
    load_images("mnist", data_dir=tmp_path / "root", download=True)
    assert server.asked == []


def test_nothing_there_is_fetched_as_a_whole(small_mnist: tuple[Card, Path], server: Server, tmp_path: Path) -> None:
    load_images("mnist", data_dir=tmp_path / "new", download=True)
    assert set(server.asked) == set(small_mnist[0].files)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mnist"]


def test_a_folder_of_wrong_files_alone_is_not_written_to(
    small_mnist: tuple[Card, Path], copy: Callable[[str], Path], server: Server, tmp_path: Path
) -> None:
    """Files of these names that are somebody else's stay as they are."""
    root = copy(".")
    for name in small_mnist[0].files:
        (root / name).write_bytes(b"mine")
    load_images("mnist", data_dir=root, download=True)
    assert all((root / name).read_bytes() == b"mine" for name in small_mnist[0].files)
    assert len(load_images("mnist", data_dir=root).train) == 12


@pytest.mark.parametrize("broken", ["wrong bytes", "ends early", "not found"])
def test_a_server_that_is_broken_too_changes_nothing(
    broken: str, small_mnist: tuple[Card, Path], copy: Callable[[str], Path], server: Server, tmp_path: Path
) -> None:
    folder = copy("mnist")
    damage(folder / IMAGES, "truncated")
    damage(folder / LABELS, "missing")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if broken == "wrong bytes":
        server.content[LABELS] = b"x" * len(server.content[LABELS])
    elif broken == "ends early":
        server.promised[LABELS] = len(server.content[LABELS])
        server.content[LABELS] = server.content[LABELS][:-5]
    else:
        del server.content[LABELS]
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        load_images("mnist", data_dir=tmp_path / "root", download=True)
    assert LABELS in str(caught.value.hint)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["mnist"]
    assert verified_files(small_mnist[0], tmp_path / "root") is None


def test_a_whole_copy_is_found_behind_a_damaged_one(
    copy: Callable[[str], Path], server: Server, tmp_path: Path
) -> None:
    damage(copy("mnist") / IMAGES, "flipped")
    copy("MNIST/raw")
    assert len(load_images("mnist", data_dir=tmp_path / "root", download=True).train) == 12
    assert server.asked == []


def test_check_says_what_is_wrong_and_repairs_on_request(
    copy: Callable[[str], Path], server: Server, tmp_path: Path
) -> None:
    folder = copy("mnist")
    root = tmp_path / "root"
    (right,) = check_files("mnist", data_dir=root)
    assert (right.status, right.path, right.problems) == ("right", str(folder), ())
    damage(folder / IMAGES, "truncated")
    damage(folder / LABELS, "empty")
    (wrong,) = check_files("mnist", data_dir=root)
    assert wrong.status == "wrong"
    assert [IMAGES in wrong.problems[0], LABELS in wrong.problems[1]] == [True, True]
    (repaired,) = check_files("mnist", data_dir=root, download=True)
    assert repaired.status == "right"
    damage(folder / LABELS, "missing")
    (partial,) = check_files("mnist", data_dir=root)
    assert (partial.status, len(partial.problems)) == ("wrong", 1)
    (absent,) = check_files("mnist", data_dir=tmp_path / "nowhere")
    assert (absent.status, len(absent.problems)) == ("missing", 1)
