from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nni_hypens.errors import InputError
from nni_hypens.utils.files import write_bytes
from nni_hypens.utils.tensors import check_weights, load_weights, read_tensors, write_tensors
from search_spaces import OneCell


def test_round_trip(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2, dtype=torch.int64)})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["w"], torch.ones(2, dtype=torch.int64))
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["w"], torch.ones(2, dtype=torch.int64))


def test_bytes_metadata_and_permissions(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_bytes(path, b"old")
    write_tensors(path, {"w": torch.zeros(1)}, {"about": "x"})
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"about": "x"}
    assert path.stat().st_mode & 0o777 == 0o644  # temporary files are for their owner alone; results are not


def test_tensors_that_share_memory_are_each_written_whole(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    write_tensors(tmp_path / "w", {"a": shared, "b": shared, "part": shared[:2], "own": torch.ones(2)})
    found = read_tensors(tmp_path / "w")
    assert found["a"].tolist() == found["b"].tolist() == shared.tolist() and found["part"].tolist() == [0, 1]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"w": torch.zeros(9)})
    read_tensors(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="a.safetensors: got no readable"):
        read_tensors(path)
    path.unlink()
    with pytest.raises(InputError, match="a.safetensors: got no file"):
        read_tensors(path)


def test_weights_are_all_or_nothing(tmp_path: Path) -> None:
    source, target = OneCell(2), OneCell(2)
    path = tmp_path / "supernet.safetensors"
    weights = {name: value.clone() for name, value in source.state_dict().items()}
    save_file(weights, path)
    load_weights(target, path, "supernet")
    assert all(torch.equal(weights[name], value) for name, value in target.state_dict().items())

    before = {name: value.clone() for name, value in target.state_dict().items()}
    changed = {**weights, "head.weight": torch.zeros(10, 3)}
    for content, name in ((changed, "head.weight"), ({**weights, "more": torch.zeros(1)}, "more")):
        save_file(content, path)
        with pytest.raises(InputError, match=f"^supernet.*{name}"):
            load_weights(target, path, "supernet")
    save_file({name: value for name, value in weights.items() if name != "head.bias"}, path)
    with pytest.raises(InputError, match="^supernet.*head.bias"):
        load_weights(target, path, "supernet")
    path.write_bytes(b"no tensors")
    for place in (path, tmp_path / "absent"):
        with pytest.raises(InputError, match="^supernet"):
            load_weights(target, place, "supernet")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_check_reads_no_weights(tmp_path: Path) -> None:
    """Names, shapes and types are in the header; that a weight is NaN is found only when it is loaded."""
    network, path = torch.nn.Linear(2, 1), tmp_path / "w.safetensors"
    save_file({"weight": torch.full((1, 2), torch.nan), "bias": torch.zeros(1)}, path)
    check_weights(network, path)
    with pytest.raises(InputError, match="NaN or infinity in weight"):
        load_weights(network, path)
    save_file({"weight": torch.zeros(1, 2), "bias": torch.zeros(1, dtype=torch.float64)}, path)
    with pytest.raises(InputError, match="bias has type torch.float64, not torch.float32"):
        check_weights(network, path)


@pytest.mark.parametrize(("name", "value"), [("head.bias", float("nan")), ("cell.running_var", -1.0)])
def test_numbers_that_make_a_network_answer_nan(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "weights.safetensors"
    network = torch.nn.ModuleDict({"head": torch.nn.Linear(2, 2), "cell": torch.nn.BatchNorm2d(2)})
    tensors = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    tensors[name][0] = value
    write_tensors(path, tensors)
    for read in (read_tensors, lambda path: load_weights(network, path)):
        with pytest.raises(InputError, match=f"weights.safetensors: got .* in {name}"):
            read(path)
