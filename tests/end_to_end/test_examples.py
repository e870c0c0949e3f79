"""The examples run, with ``--quick``, as the list of examples says."""

from __future__ import annotations

import http.client
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nni_hypens import Ensemble, export_ensemble
from tests.support.commands import command, module
from tests.support.deployed import random_ensemble
from tests.support.loaded import PATIENCE
from tests.support.ssh_server import ssh_server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LIST = (EXAMPLES / "README.md").read_text(encoding="utf-8")
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(['nni', 'nni_hypens', 'torch'])); import runpy; "
"""Makes an import of any of the three an error."""


def example(name: str, *arguments: str | Path) -> str:
    """What an example prints; it must end with exit code 0."""
    ended = module(f"examples.{name}", *arguments)
    assert ended.code == 0, ended.out[-1000:] + ended.err[-3000:]
    return ended.out


# ---- serve --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ensemble, Path]:
    ensemble = random_ensemble("one_cell")
    ensemble.info.input_spec |= {"scale": 16.0, "range": [-2.0, 14.0]}  # image files must be brought to it
    path = tmp_path_factory.mktemp("serve") / "model.onnx"
    export_ensemble(ensemble, path)
    return ensemble, path


@pytest.fixture(scope="module")
def port(exported: tuple[Ensemble, Path]) -> Iterator[int]:
    code = f"{WITHOUT} sys.argv[1:] = [{str(exported[1])!r}, '--port', '0']; "
    code += f"runpy.run_path({str(EXAMPLES / 'serve.py')!r}, run_name='__main__')"
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs tests in the background ignores it
    )
    try:
        first = server.stdout.readline()
        yield int(re.fullmatch(r"serving on http://127\.0\.0\.1:(\d+)/\n", first)[1])
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0 and server.stdout.read() == "stopped\n"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def ask(port: int, body: bytes | None, path: str = "/", **headers: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    status, content = response.status, json.loads(response.read())
    connection.close()
    return status, content


def png(pixels: np.ndarray, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def test_serving_needs_neither_nni_nor_torch(exported: tuple[Ensemble, Path], port: int) -> None:
    """The answer over HTTP is that of the ensemble in torch."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    status, found = ask(port, png(pixels))
    expected = exported[0].predict(pixels[None, :, :, None].astype(np.float32) * 16 / 255 - 2)[0]
    assert status == 200 and list(found["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert found["label"] == exported[0].info.labels[int(expected.argmax())]
    status, about = ask(port, None)
    assert status == 200 and about["class_names"] == exported[0].info.labels and about["input"]["height"] == 8
    assert ask(port, png(np.zeros((30, 20, 3), np.uint8), "JPEG"))[0] == 200  # colour and another size


def test_serving_refuses(port: int) -> None:
    image = png(np.zeros((8, 8), np.uint8))
    assert ask(port, image[: len(image) // 2])[0] == 415
    assert ask(port, b"GIF89a, or nearly")[0] == 415
    assert ask(port, png(np.zeros((8, 8), np.uint8), "BMP"))[0] == 415  # only what it says it reads
    assert ask(port, png(np.zeros((8, 8), np.uint16)))[0] == 415  # 16 bits
    assert ask(port, png(np.zeros((1, 4096 * 4096 + 1), np.uint8)))[0] == 413
    for length, status in (("", 411), ("-1", 411), ("0", 413), (str(2**40), 413), ("9" * 5000, 413)):
        assert ask(port, b"x", Content_Length=length)[0] == status, length
    assert ask(port, image, "/etc/passwd")[0] == 404 and ask(port, None, "/..")[0] == 404
    assert ask(port, image)[0] == 200  # and still serves


def test_serve_asks_itself(exported: tuple[Ensemble, Path]) -> None:
    printed = example("serve", exported[1], "--port", "0", "--quick").splitlines()
    assert sum(json.loads(printed[1])["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


# ---- the others ---------------------------------------------------------------------------------------------------


def test_the_list_names_every_example() -> None:
    """And its commands are those of scripts that are there; the notebook is run by a test of its own."""
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")} | {"remote"}
    assert set(re.findall(r"^\| \[([\w.]+)\]", LIST, re.MULTILINE)) == there
    for target in re.findall(r"\]\(([^)]+)\)", LIST):
        assert (EXAMPLES / target).exists()
    for name in re.findall(r"python -m examples\.(\w+)", LIST):
        assert (EXAMPLES / f"{name}.py").exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_commands_in_examples_are_theirs(path: Path) -> None:
    assert all(name == path.stem for name in re.findall(r"python -m examples\.(\w+)", path.read_text()))


def finished(out: Path) -> dict:
    """The results of a run folder that has its report too."""
    assert (out / "report.html").exists()
    return json.loads((out / "results.json").read_text())


def test_base_from_nni(tmp_path: Path) -> None:
    printed = example("base_from_nni", "--quick", "--out", tmp_path)
    base = json.loads((tmp_path / "base.json").read_text())
    assert f"node_0: 0>{base['node_0/op_0']};" in re.search("base, from darts: .*", printed)[0]
    assert [int(n) for n in re.findall(r"^lam=\d, (\d) shared", printed, re.MULTILINE)] == [4, 3, 2, 1, 0]


@pytest.mark.examples
def test_own_space(tmp_path: Path) -> None:
    printed = example("own_space", "--quick", "--out", tmp_path / "run")
    assert "4 edges: " in printed and "shares 4 of them" in printed
    assert len(finished(tmp_path / "run")["members"]) == 2


@pytest.mark.examples
@pytest.mark.parametrize("kind", ["arrays", "folder", "module"])
def test_own_data(kind: str, tmp_path: Path) -> None:
    generator, given = np.random.default_rng(0), []
    arrays = {f"x_{part}": generator.integers(0, 256, (40, 9, 10), np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(40) % 2 for part in ("train", "test")}
    if kind == "arrays":
        given = [tmp_path / "images.npz"]
        np.savez(given[0], **arrays)
    if kind == "folder":
        given = [tmp_path / "pictures", "--size", "8"]
        for part in ("train", "test"):
            for index, image in enumerate(arrays[f"x_{part}"]):
                folder = given[0] / part / ("cat", "dog")[index % 2]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{index}.png").write_bytes(png(image))
    example("own_data", kind, *given, "--quick", "--out", tmp_path / "run")
    results = finished(tmp_path / "run")
    size, classes = {"arrays": (9, 2), "folder": (8, 2), "module": (12, 3)}[kind]
    assert results["data"]["input_spec"]["height"] == size and results["data"]["num_classes"] == classes
    assert (results["data"]["class_names"] == ["cat", "dog"]) == (kind == "folder")


@pytest.mark.examples
def test_table(tmp_path: Path) -> None:
    """From a CSV file to an ensemble that predicts CSV files, in two formats; pages name no image."""
    printed = example("table", "--quick", "--out", tmp_path / "run")
    results = finished(tmp_path / "run")
    assert results["data"]["input_spec"]["shape"] == [13] and "classes: grower A, grower B, grower C" in printed
    assert results["ensemble"]["accuracy"] > 0.6 and results["corruptions"]["skipped"]
    assert json.loads((tmp_path / "run" / "examples.json").read_text())["images"] == []
    page = (tmp_path / "run" / "report.html").read_text()
    assert "table.csv" in page and "N x 13" in page and "data:image/png" not in page
    words = page.replace("Corrupted test images", "")  # the title of a section that says why it is empty
    assert "54 test examples" in words and "test images" not in words and "Uncertainty and out-of" not in words
    table = tmp_path / "table.csv"
    lines = (tmp_path / "run.csv").read_text().splitlines()[:4]
    table.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines))
    found = []
    for model in ("run", "run/ensemble/model.onnx"):
        asked = command("predict", tmp_path / model, table, "--json")
        assert asked.code == 0, asked.err
        found.append([list(row["probabilities"].values()) for row in json.loads(asked.out)])
        if model == "run":
            assert command("export", tmp_path / "run").code == 0
    assert np.shape(found) == (2, 3, 3) and np.allclose(found[0], found[1], atol=1e-4)


def test_own_data_says_what_is_missing(tmp_path: Path) -> None:
    ended = module("examples.own_data", "folder", tmp_path)
    assert ended.code == 2 and "DIR/train/CLASS/*" in ended.err


@pytest.mark.examples
def test_small_device(tmp_path: Path) -> None:
    printed = example("small_device", "--quick", "--out", tmp_path / "run")
    members = [int(n) for n in re.findall(r"^c\d\d +(\d+)", printed, re.MULTILINE)]
    total = int(re.search(r"together: (\d+) parameters", printed)[1])
    assert len(members) == 2 and total == sum(members) <= 4000 and max(members) <= 2000


@pytest.mark.examples
def test_fashion_mnist(tmp_path: Path) -> None:
    printed = example("fashion_mnist", "--quick", "--out", tmp_path / "run")
    if printed.startswith("skipped: "):
        pytest.skip(printed)
    assert finished(tmp_path / "run")["data"]["class_names"][9] == "Ankle boot"


@pytest.mark.examples
def test_cifar_paper(tmp_path: Path) -> None:
    example("cifar_paper", "--quick", "--out", tmp_path / "run")
    results = finished(tmp_path / "run")
    assert results["data"]["input_spec"]["channels"] == 3 and len(results["members"]) == 2


@pytest.mark.examples
def test_two_machines(tmp_path: Path) -> None:
    """Two ssh servers with homes of their own stand for two machines; each trains some of the candidates."""
    with ssh_server(tmp_path / "a") as first, ssh_server(tmp_path / "b", first.key) as second:
        machines = [f"{server.user}@127.0.0.1:{server.port}" for server in (first, second)]
        where = ["--key", first.key, "--python", Path(sys.executable).parent, "--out", tmp_path / "run"]
        printed = example("two_machines", *machines, *where, "--quick")
        there = [len(list(server.home.glob("nni-experiments/**/c0?/metrics.json"))) for server in (first, second)]
    assert sum(there) == 4 and min(there) >= 1
    assert len(re.findall(r"^ *c\d\d ", printed, re.MULTILINE)) == 4
    assert len(finished(tmp_path / "run")["members"]) == 2
