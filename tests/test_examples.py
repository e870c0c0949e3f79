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
from deployed import random_ensemble
from PIL import Image

from nni_hypens import Ensemble, export_ensemble

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LIST = (EXAMPLES / "README.md").read_text(encoding="utf-8")
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(['nni', 'nni_hypens', 'torch'])); import runpy; "
"""Makes an import of any of the three an error."""


def example(name: str, *arguments: str | Path, seconds: float = 200) -> str:
    """What an example prints; it must end with exit code 0."""
    command = [sys.executable, "-m", f"examples.{name}", *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-3000:]
    return run.stdout


# ---- serve --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ensemble, Path]:
    ensemble = random_ensemble("one_cell")
    ensemble.info.input_spec["scale"] = 16.0  # as digits are: image files must be brought to this range
    path = tmp_path_factory.mktemp("serve") / "model.onnx"
    export_ensemble(ensemble, path)
    return ensemble, path


@pytest.fixture(scope="module")
def port(exported: tuple[Ensemble, Path]) -> Iterator[int]:
    code = f"{WITHOUT} sys.argv[1:] = [{str(exported[1])!r}, '--port', '0']; "
    code += f"runpy.run_path({str(EXAMPLES / 'serve.py')!r}, run_name='__main__')"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        first = server.stdout.readline()
        yield int(re.fullmatch(r"serving on http://127\.0\.0\.1:(\d+)/\n", first)[1])
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0 and server.stdout.read() == "stopped\n"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def ask(port: int, body: bytes | None, path: str = "/", **headers: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
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
    expected = exported[0].predict(pixels[None, :, :, None].astype(np.float32) * 16 / 255)[0]
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
    assert ask(port, png(np.zeros((1, 4096 * 4096 + 1), np.uint8)))[0] == 413
    for length, status in (("", 411), ("-1", 411), ("0", 413), (str(2**40), 413), ("9" * 5000, 413)):
        assert ask(port, b"x", Content_Length=length)[0] == status, length
    assert ask(port, image, "/etc/passwd")[0] == 404 and ask(port, None, "/..")[0] == 404
    assert ask(port, image)[0] == 200  # and still serves


def test_serve_asks_itself(exported: tuple[Ensemble, Path]) -> None:
    printed = example("serve", exported[1], "--port", "0", "--quick").splitlines()
    assert sum(json.loads(printed[1])["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
