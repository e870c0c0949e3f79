"""The categorical choices of a model space, and samples as NNI writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni.mutable import Categorical, CategoricalMultiple
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.utils.checks import nearest
from nni_hypens.utils.files import parse_json, read_text

Sample = dict[str, Any]
"""An architecture as NNI writes it: label -> choice."""


@dataclass(frozen=True)
class ChoiceTable:
    """The categorical choices of a model space, in a fixed order.

    Args:
        options: label -> its options, in NNI's order.
        n_chosen: label -> how many options are chosen at once.
        multiple: Labels whose choice NNI writes as a list (``CategoricalMultiple``).

    Examples:
        >>> options = {"op": ("conv", "pool"), "input": (0, 1, 2)}
        >>> table = ChoiceTable(options, n_chosen={"op": 1, "input": 2}, multiple=frozenset({"input"}))
        >>> table.to_sample([[1], [2, 0]])
        {'op': 'pool', 'input': [0, 2]}
        >>> table.to_indices({"op": "pool", "input": [0, 2]})
        {'op': [1], 'input': [0, 2]}
    """

    options: dict[str, tuple[Any, ...]]
    n_chosen: dict[str, int]
    multiple: frozenset[str]

    @property
    def labels(self) -> list[str]:
        """Labels, in the order of the rows of every logits tensor."""
        return list(self.options)

    @classmethod
    def from_space(cls, space: ModelSpace) -> ChoiceTable:
        """Read the table from ``space.simplify()``.

        Raises:
            InputError: A mutable is not categorical, or leaves the number of choices open; the label is named.
        """
        options: dict[str, tuple[Any, ...]] = {}
        n_chosen: dict[str, int] = {}
        multiple: set[str] = set()
        for key, mutable in space.simplify().items():
            label = str(key)  # NNI's labels are a subclass of str; checkpoints should not depend on it
            if isinstance(mutable, CategoricalMultiple):
                if mutable.n_chosen is None:
                    raise InputError(f"label {label!r}", "n_chosen=None", "an InputChoice with a fixed n_chosen")
                n_chosen[label] = mutable.n_chosen
                multiple.add(label)
            elif isinstance(mutable, Categorical):
                n_chosen[label] = 1
            else:
                raise InputError(f"label {label!r}", type(mutable).__name__, "a categorical choice")
            options[label] = tuple(mutable.values)
        if not options:
            raise InputError("space", f"{type(space).__name__} without any choice", "a model space with mutables")
        return cls(options, n_chosen, frozenset(multiple))

    def to_sample(self, rows: Sequence[Sequence[int]]) -> Sample:
        """NNI sample from option indices.

        Args:
            rows: For each label in order, the indices of its chosen options; extra ones at the end are ignored.
        """
        sample: Sample = {}
        for (label, values), row in zip(self.options.items(), rows, strict=True):
            chosen = [values[index] for index in sorted(row[: self.n_chosen[label]])]
            sample[label] = chosen if label in self.multiple else chosen[0]
        return sample

    def to_indices(self, sample: Sample) -> dict[str, list[int]]:
        """Indices of the chosen options, label by label."""
        return {
            label: [options.index(value) for value in self.chosen(label, sample[label])]
            for label, options in self.options.items()
        }

    def chosen(self, label: str, choice: Any) -> list[Any]:
        """A sample's choice for a label, as the list of chosen options.

        An option may be a tuple (a kernel of (1, 3)), which JSON turns into a list. NNI writes a list of one where an
        ``InputChoice`` chooses one input.
        """
        if label in self.multiple:
            return list(choice) if isinstance(choice, list | tuple) else [choice]
        if not isinstance(choice, list | tuple):
            return [choice]
        whole = tuple(choice)
        return [whole] if whole in self.options[label] else list(choice)

    def validate(self, sample: Any, field: str = "base") -> Sample:
        """Check that ``sample`` is an architecture of this space, and return it in NNI's form.

        Args:
            sample: label -> choice, as NNI exports it; a single input may be given without its list.
            field: Name of the sample in error messages.

        Raises:
            InputError: Names the label that is unknown or missing, or whose value is not an option.
        """
        if not isinstance(sample, Mapping):
            raise InputError(field, type(sample).__name__, "an NNI sample: a mapping from label to choice")
        unknown = sorted(set(sample) - set(self.options), key=str)
        missing = [label for label in self.options if label not in sample]
        if unknown:
            expected = f"a label of this space (is it from another space?){nearest(str(unknown[0]), self.labels)}"
            raise InputError(f"{field}: label", repr(unknown[0]), expected)
        if missing:
            expected = "a choice for each label; is it from another space?"
            raise InputError(f"{field}: label {missing[0]!r}", "nothing", expected)
        return {label: self._checked_choice(label, sample[label], field) for label in self.options}

    def _checked_choice(self, label: str, choice: Any, field: str) -> Any:
        """The choice of one label, checked, with several options in NNI's order."""
        values = self.options[label]
        chosen = self.chosen(label, choice)
        for value in chosen:
            if not _is_option(value, values):
                expected = f"one of {list(values)}{nearest(str(value), map(str, values))}"
                raise InputError(f"{field}: label {label!r}", repr(value), expected)
        if len(chosen) != self.n_chosen[label] or len(set(map(str, chosen))) != len(chosen):
            expected = f"{self.n_chosen[label]} different option(s)"
            raise InputError(f"{field}: label {label!r}", repr(chosen), expected)
        ordered = sorted(chosen, key=values.index)
        return ordered if label in self.multiple else ordered[0]


def load_sample(path: str | Path, table: ChoiceTable, field: str = "base") -> Sample:
    """Read an architecture from a JSON file: a sample, or a list whose first item is one (as NNI exports).

    Raises:
        InputError: The file is missing, is not JSON, or is not an architecture of this space.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "base.json").write_text('{"op": "pool"}')
        >>> load_sample(folder / "base.json", ChoiceTable({"op": ("conv", "pool")}, {"op": 1}, frozenset()))
        {'op': 'pool'}
    """
    try:
        content = parse_json(read_text(path, links=True))
    except OSError as error:
        raise InputError(field, str(path), f"a readable JSON file ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(field, str(path), f"valid JSON ({error})") from None
    if isinstance(content, list):
        if not content:
            raise InputError(field, "an empty list", "an NNI sample: a mapping from label to choice")
        content = content[0]
    return table.validate(content, field)


def _is_option(value: Any, options: Sequence[Any]) -> bool:
    """Whether a value is among the options, without taking True or 1.0 for 1."""
    return any(type(value) is type(option) and value == option for option in options)
