"""The expected value of a profiler's expression, for NNI's penalties, fast enough for every step.

NNI enumerates the values of the expression again at each step (tens of seconds on its MobileNetV3 space), and fails if
some values of a choice are whole numbers and others are not. Here the expression is turned once into a tree of sums,
products of independent factors, and tables; each step then contracts the tables with the probabilities.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import nni.nas.strategy  # noqa: F401  # before nni.nas.oneshot: see nni_hypens/_nni.py
import torch
from nni.mutable import Categorical, MutableExpression
from nni.nas.oneshot.pytorch.profiler import ExpectationProfilerPenalty
from nni.nas.profiler import ExpressionProfiler

from nni_hypens.errors import InputError

Probabilities = Mapping[str, torch.Tensor]
Node = Callable[[Probabilities], Any]
LARGEST_TABLE = 1_000_000


class ExpectedCost:
    """Expected value of an expression over independent choices, differentiable in their probabilities.

    Args:
        expression: A number, or NNI's expression over categorical choices.

    Raises:
        InputError: A choice in the expression is not categorical, or a term depends on too many choices.
    """

    def __init__(self, expression: Any) -> None:
        self._tables: dict[tuple[str, ...], torch.Tensor] = {}
        self._root = self._node(expression)

    def __call__(self, probabilities: Probabilities) -> torch.Tensor:
        """The expected value, a scalar.

        Args:
            probabilities: label -> probabilities of its options, ``M``, in NNI's order.
        """
        return torch.as_tensor(self._root(probabilities))

    def _node(self, expression: Any) -> Node:
        if not isinstance(expression, MutableExpression):
            return lambda _: expression
        function, parts = getattr(expression, "function", None), getattr(expression, "arguments", ())
        labels = [set(part.simplify()) if isinstance(part, MutableExpression) else set() for part in parts]
        if function in (operator.add, operator.sub) and len(parts) == 2:
            left, right = (self._node(part) for part in parts)
            return lambda at: function(left(at), right(at))
        if function is operator.mul and len(parts) == 2 and not labels[0] & labels[1]:
            left, right = (self._node(part) for part in parts)
            return lambda at: left(at) * right(at)
        return self._table(expression)

    def _table(self, expression: MutableExpression) -> Node:
        """All values of an expression whose parts depend on the same choices."""
        choices = expression.simplify()
        for label, choice in choices.items():
            if not isinstance(choice, Categorical):
                raise InputError(
                    f"penalty: label {label!r}", type(choice).__name__, "a profiler over categorical choices"
                )
        labels, options = list(choices), [choice.values for choice in choices.values()]
        shape = [len(values) for values in options]
        if torch.Size(shape).numel() > LARGEST_TABLE:
            got = f"an expression with {torch.Size(shape).numel():,} values over {labels[:4]}..."
            raise InputError("penalty.profiler", got, f"at most {LARGEST_TABLE:,} values in one term")
        values = [
            float(expression.freeze(dict(zip(labels, combination, strict=True))))
            for combination in itertools.product(*options)
        ]
        table = torch.tensor(values, dtype=torch.float64).reshape(shape)
        there: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}  # sent once, not in each step

        def expected(at: Probabilities) -> torch.Tensor:
            like = at[labels[0]]
            if (like.device, like.dtype) not in there:
                there[like.device, like.dtype] = table.to(like)
            result = there[like.device, like.dtype]
            for label in reversed(labels):
                result = result @ at[label]
            return result

        return expected


class Penalty:
    """NNI's penalty on the expected cost, as its DARTS applies it.

    Args:
        penalty: ``ExpectationProfilerPenalty``, or a dict of its arguments.

    Raises:
        InputError: Another kind of penalty, unknown arguments, or a profiler without an expression.
    """

    def __init__(self, penalty: ExpectationProfilerPenalty | dict[str, Any]) -> None:
        if isinstance(penalty, dict):
            try:
                penalty = ExpectationProfilerPenalty(**penalty)
            except TypeError as error:
                raise InputError("penalty", f"a dict with {sorted(penalty)}", f"its arguments ({error})") from None
        if not isinstance(penalty, ExpectationProfilerPenalty):
            wanted = "nni's ExpectationProfilerPenalty, or a dict of its arguments (the penalty of one sample has no "
            raise InputError("penalty", type(penalty).__name__, wanted + "gradient in the logits)")
        if not isinstance(penalty.profiler, ExpressionProfiler):
            kind = type(penalty.profiler).__name__
            wanted = "an ExpressionProfiler: FlopsProfiler, NumParamsProfiler"
            raise InputError("penalty.profiler", kind, wanted)
        self.nni = penalty
        self._expected: ExpectedCost | None = None

    def __call__(
        self, loss: torch.Tensor, probabilities: Probabilities
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss with the penalty, and ``penalty`` (the expected cost) and ``normalized_penalty``, scalars."""
        if self._expected is None:
            self._expected = ExpectedCost(self.nni.profiler.expression)
        cost = self._expected(probabilities)
        normalized = self.nni.nonlinear_fn(cost / self.nni.baseline - 1)
        return self.nni.aggregate_fn(loss, normalized), {"penalty": cost, "normalized_penalty": normalized}
