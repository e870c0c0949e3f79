"""Serve an exported ensemble over HTTP on this machine, without NNI, nni_hypens or torch.

    nni-hypens export runs/my
    python examples/serve.py runs/my/ensemble/model.onnx
    curl --data-binary @image.png http://127.0.0.1:8000/

A starting point for your own server: it needs onnxruntime, numpy, Pillow and the standard library. GET / describes
the model's input. POST / takes one PNG or JPEG and returns the label and all probabilities. `--quick` sends itself
one request.
"""

from __future__ import annotations

import argparse
import io
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MAX_BYTES = 4 * 2**20
MAX_PIXELS = 4096 * 4096  # a small file can decode to gigabytes
SECONDS = 10.0  # time limit for a client to send its request
AT_ONCE = 4  # images decoded and classified at the same time


class RefusedError(Exception):
    """A refused request, with its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Model:
    """The ONNX file of an ensemble, including preprocessing."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = {key: json.loads(text) for key, text in self.session.get_modelmeta().custom_metadata_map.items()}
        if about.get("input_values") not in ("raw", "uint8"):
            raise SystemExit(f"{path}: got a file without preprocessing; expected one written by nni-hypens export")
        if not about.get("input_range"):
            raise SystemExit(f"{path}: got a file without input_range; expected a new export, best with --uint8")
        self.names: list[str] = about["class_names"]
        self.input: dict[str, float] = about["input"]
        self.low, self.high = about["input_range"]
        self.type = np.uint8 if about["input_values"] == "uint8" else np.float32

    def classify(self, content: bytes) -> dict[str, object]:
        """Return label and probabilities of one image file."""
        probs = self.session.run(["probabilities"], {"images": self.pixels(content)[None]})[0][0]
        by_name = dict(zip(self.names, map(float, probs), strict=True))
        return {"label": self.names[int(probs.argmax())], "probabilities": by_name}

    def pixels(self, content: bytes) -> np.ndarray:
        """Decode an image to `H x W x C` with the size and range of the training data; `predict` does the same."""
        channels, width, height = (int(self.input[key]) for key in ("channels", "width", "height"))
        if channels not in (1, 3):
            raise RefusedError(501, f"the model wants {channels} channels; image files have 1 or 3")
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise RefusedError(413, f"{image.width} x {image.height} pixels; at most {MAX_PIXELS} in all")
                if image.mode.startswith(("I", "F")):
                    raise RefusedError(415, f"pixels of mode {image.mode}; only 8 bits per channel are read here")
                picture = ImageOps.exif_transpose(image)
                if image.has_transparency_data:  # laid over white, as in training and in nni-hypens predict
                    colours = picture.convert("RGBA")
                    picture = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
                small = picture.convert("L" if channels == 1 else "RGB")
                if small.size != (width, height):
                    small = small.resize((width, height), Image.Resampling.BICUBIC)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise RefusedError(415, f"not a readable PNG or JPEG ({type(error).__name__})") from error
        values = np.asarray(small, dtype=np.float32).reshape(height, width, channels)
        return (self.low + values * ((self.high - self.low) / 255)).astype(self.type)


class Handler(BaseHTTPRequestHandler):
    """Answers GET / and POST /, and refuses everything else with a JSON error."""

    timeout = SECONDS
    model: Model
    room = threading.BoundedSemaphore(AT_ONCE)

    def do_GET(self) -> None:  # noqa: N802
        if self.path != "/":
            return self.answer(404, {"error": "GET / or POST /"})
        self.answer(200, {"input": self.model.input, "class_names": self.model.names, "max_bytes": MAX_BYTES})

    def do_POST(self) -> None:  # noqa: N802
        try:
            content = self.body()
            with self.room:
                found = self.model.classify(content)
        except RefusedError as refused:
            return self.answer(refused.status, {"error": str(refused)})
        self.answer(200, found)

    def body(self) -> bytes:
        """Read the request body, after checking its length."""
        if self.path != "/":
            raise RefusedError(404, "GET / or POST /")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise RefusedError(411, "Content-Length is needed")
        if len(length) > 12 or not 0 < int(length) <= MAX_BYTES:
            raise RefusedError(413, f"{length[:12]} bytes; 1 to {MAX_BYTES} will do")
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise RefusedError(400, f"{len(content)} of {length} bytes came")
        return content

    def answer(self, status: int, content: dict[str, object]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the server in front of this one logs requests."""


def ask_once(model: Model, address: str) -> None:
    """Send a generated image, as a client would."""
    noise = np.random.default_rng(0).integers(0, 256, (int(model.input["height"]), int(model.input["width"])), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    with urllib.request.urlopen(address, data=file.getvalue(), timeout=60) as answer:
        print(answer.read().decode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve an exported ensemble over HTTP on this machine.")
    parser.add_argument("model", help="model.onnx from nni-hypens export")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; 0 for any free one (default: 8000)")
    parser.add_argument("--quick", action="store_true", help="classify one generated image and exit")
    arguments = parser.parse_args()
    Handler.model = Model(arguments.model)
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"serving on {address}", flush=True)
        if arguments.quick:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ask_once(Handler.model, address)
            return server.shutdown()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
