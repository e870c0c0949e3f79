import pytest
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.space.build import describe_space, fixed_network, fresh
from search_spaces import DartsSpace, OneCell


def test_spaces_can_be_made_again() -> None:
    for space in (OneCell(3, in_channels=1), DartsSpace(width=4, num_cells=3, in_channels=1)):
        again = fresh(space)
        assert [p.shape for p in again.parameters()] == [p.shape for p in space.parameters()]
        described = describe_space(space)
        assert described["class"] == f"{type(space).__module__}:{type(space).__name__}"
        assert [p.shape for p in type(space)(**described["args"]).parameters()] == [p.shape for p in space.parameters()]
    sample = {f"node_{i}/input": [0] for i in range(4)}
    sample |= {f"node_{i}/op_{j}": "skip_connect" for i in range(4) for j in range(i + 1)}
    assert sum(p.numel() for p in fixed_network(OneCell(3, in_channels=1), sample).cells.parameters()) == 0


class Unnamed(ModelSpace):
    def __init__(self, *widths: int) -> None:
        super().__init__()


def test_arguments_without_names_are_refused() -> None:
    """Two such spaces would look alike to a run."""
    with pytest.raises(InputError, match="^space: got Unnamed with arguments without names"):
        describe_space(Unnamed(1, 2))
