"""Which test images a report shows, by hand, and that their pictures are those of the data."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nni_hypens import ImageData
from nni_hypens.run.examples import MAX_SIDE, PER_MEMBER, as_pngs, choose_examples, collect_examples


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True))))


def sure(classes: list[int], confidence: list[float]) -> np.ndarray:
    """Probabilities of two classes with a class and a confidence for each image."""
    return np.array([[c, 1 - c] if k == 0 else [1 - c, c] for k, c in zip(classes, confidence, strict=True)])


def test_choice_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    members = np.stack([
        sure([0, 0, 1, 0, 1], [0.9, 0.6, 0.7, 0.8, 0.9]),
        sure([0, 1, 1, 1, 1], [0.9, 0.8, 0.7, 0.6, 0.9]),
        sure([0, 1, 0, 1, 1], [0.9, 0.7, 0.6, 0.7, 0.9]),
    ])  # fmt: skip
    whole = sure([0, 1, 1, 1, 1], [0.95, 0.7, 0.9, 0.55, 0.99])
    found = choose_examples(members, whole, labels, ["a", "b", "c"])
    assert found["uncertain"] == [3, 1, 2, 0, 4]
    assert found["wrong"] == [2, 1, 3]
    assert found["members"] == {"a": [3, 1], "b": [], "c": [2]}  # by the probability of the label


def test_those_that_nobody_else_knows_come_first() -> None:
    """Of five members the first is right alone on image 1, and with one other on image 0, where it is surer."""
    labels = np.zeros(2, dtype=int)
    members = np.stack([sure([0, 0], [0.9, 0.6]), sure([0, 1], [0.9, 0.9]), *[sure([1, 1], [0.9, 0.9])] * 3])
    found = choose_examples(members, members.mean(0), labels, list("abcde"))
    assert found["members"] == {"a": [1, 0], "b": [0], "c": [], "d": [], "e": []}


def test_one_member_knows_nothing_that_others_do_not() -> None:
    probs = sure([0, 1], [0.9, 0.8])
    assert choose_examples(probs[None], probs, np.array([0, 0]), ["a"])["members"] == {"a": []}


def test_collected_images_are_those_of_the_data() -> None:
    data = ImageData("digits", train_size=256, validation_size=128, test_size=100)
    labels = data.labels("test")
    generator = np.random.default_rng(0)
    members = generator.dirichlet(np.ones(10), (3, 100)) + 0.3 * np.eye(10)[labels]
    members /= members.sum(2, keepdims=True)
    found = collect_examples(members, members.mean(0), data, ["a", "b", "c"])
    json.dumps(found, allow_nan=False)
    known = {item["index"]: item for item in found["images"]}
    listed = [*found["uncertain"], *found["wrong"], *(i for rows in found["members"].values() for i in rows)]
    assert set(known) == set(listed) and len(found["uncertain"]) == 8 and found["skipped"] is None
    assert all(len(rows) <= PER_MEMBER for rows in found["members"].values())
    assert found["wrong_total"] == (members.mean(0).argmax(1) != labels).sum()
    for index, item in known.items():
        raw = data.raw("test", [index])[0, :, :, 0]
        np.testing.assert_array_equal(decoded(item["png"]), np.round(raw / 16 * 255))
        assert item["label"] == labels[index]
        assert item["members"]["b"] == [members[1, index].argmax(), pytest.approx(members[1, index].max())]
        p = members.mean(0)[index]
        assert item["ensemble"] == [p.argmax(), pytest.approx(p.max())]
        assert item["entropy"] == pytest.approx(-(p * np.log(p)).sum())


def test_data_without_raw_images_have_no_pictures() -> None:
    data: Any = SimpleNamespace(labels=lambda split: np.array([0, 1]), input_spec={})
    probs = sure([0, 0], [0.9, 0.8])
    found = collect_examples(np.stack([probs, probs]), probs, data, ["a", "b"])
    assert [item["png"] for item in found["images"]] == [None, None] and "no raw(split, indices)" in found["skipped"]


@pytest.mark.parametrize(("channels", "shape"), [(1, (9, 8)), (2, (9, 8)), (3, (9, 8, 3)), (4, (9, 8, 3)), (5, (9, 8))])
def test_channels(channels: int, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 8, channels)).astype(np.uint8)
    pixels = decoded(as_pngs(images, 0.0, 255.0)[1])
    assert pixels.shape == shape
    if channels in (1, 3):
        np.testing.assert_array_equal(pixels, images[1].squeeze())


def test_range_and_size() -> None:
    images = np.zeros((2, 200, 100, 1), dtype=np.float32)
    images[0], images[1] = -2.0, 2.0  # somebody's own range, stretched for all images alike
    dark, bright = map(decoded, as_pngs(images, 0.0, 1.0))
    assert dark.shape == (MAX_SIDE, MAX_SIDE // 2) and dark.max() == 0 and bright.min() == 255
    assert decoded(as_pngs(np.full((1, 8, 8, 1), 0.5), 0.0, 1.0)[0]).max() in (127, 128)
    assert as_pngs(images[:0], 0.0, 1.0) == []


def test_a_table_has_no_pictures() -> None:
    data, ids = ImageData("tests.support.tables:load"), ["a", "b"]
    members = np.random.default_rng(0).dirichlet(np.ones(3), (2, 30))
    found = collect_examples(members, members.mean(0), data, ids)
    wrong = int((members.mean(0).argmax(1) != data.labels("test")).sum())
    assert found["wrong_total"] == wrong > 0 and "no images" in found["skipped"]
    assert found["uncertain"] == found["wrong"] == found["images"] == [] and found["members"] == {"a": [], "b": []}


def test_only_shown_members_have_images_and_predictions_of_their_own() -> None:
    rng = np.random.default_rng(0)
    members, labels = rng.dirichlet(np.ones(3), (4, 30)), rng.integers(0, 3, 30)
    whole, ids = members.mean(axis=0), ["a", "b", "c", "d"]
    every = choose_examples(members, whole, labels, ids)
    some = choose_examples(members, whole, labels, ids, shown={"d", "b"})
    assert some == {**every, "members": {name: every["members"][name] for name in ("b", "d")}}
    data: Any = SimpleNamespace(labels=lambda split: labels, input_spec={"channels": 1, "height": 1, "width": 1})
    found = collect_examples(members, whole, data, ids, {"d", "b"})
    assert all(list(image["members"]) == ["b", "d"] for image in found["images"])
    first = found["images"][0]
    assert first["members"]["d"][1] == members[3, first["index"]].max()
