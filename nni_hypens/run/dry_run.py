"""One forward pass of a few architectures on blank examples, before any paid work: data and space must fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.run.updates import Updates
from nni_hypens.space.architecture import EdgeStructure, Sample
from nni_hypens.space.build import fixed_network
from nni_hypens.space.coverage import check_every_option, covering_architectures


def try_space(
    name: str,
    space: ModelSpace,
    structure: EdgeStructure,
    input_shape: tuple[int, ...],
    num_classes: int,
    updates: Updates | None = None,
) -> None:
    """Build and run architectures that together have every option of every choice, as in training.

    Args:
        name: What the user calls the space.
        space: The model space.
        structure: The structure of the space that is searched; this one must have the same choices.
        input_shape: Shape of one example, such as channels, height and width of an image.
        num_classes: Number of classes C; a network must give as many logits.
        updates: Batches of the training loader. Batch normalisation of maps of one pixel needs two images in each.

    Raises:
        InputError: Names the label and the option that does not fit, or the loader whose last batch is too small.
    """

    def attempt(sample: Sample, images: int = 2) -> None:
        network, blank = fixed_network(space, sample).train(), torch.zeros(images, *input_shape)
        output = network(blank)
        if not isinstance(output, torch.Tensor):  # such as logits and those of an auxiliary head, in training only
            output = network.eval()(blank)
        if not isinstance(output, torch.Tensor) or tuple(output.shape) != (images, num_classes):
            got = f"outputs of shape {tuple(output.shape[1:])}" if isinstance(output, torch.Tensor) else "no tensor"
            raise InputError(name, got, f"({num_classes},), a logit for each class of the data")

    theirs = EdgeStructure.from_space(space).table.options
    if theirs != structure.table.options:
        wrong = next((label for label, options in structure.table.options.items() if theirs.get(label) != options), "")
        wrong = wrong or next(label for label in theirs if label not in structure.table.options)
        raise InputError(name, f"other choices than the space of the search ({wrong})", "the same labels and options")
    for label, options in theirs.items():
        for option in options:
            if not isinstance(option, str | int | float | None):
                expected = "numbers, strings or None: architectures travel to trials as JSON, which has no others"
                raise InputError(f"{name}: label {label!r}", f"the option {option!r}", expected)
    samples = covering_architectures(space, structure.table)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        what = f"{type(space).__name__} on {'images' if len(input_shape) == 3 else 'examples'} of shape {input_shape}"
        check_every_option(structure, samples, attempt, name, what)
        if updates is not None and updates.smallest == 1:
            _check_single(samples[0], attempt)


def _check_single(sample: Sample, attempt: Callable[..., None]) -> None:
    """Refuse training batches of one image if the networks normalise maps of one pixel."""
    try:
        attempt(sample, 1)
    except ValueError as error:  # that of torch: more than 1 value per channel
        expected = "drop_last=True, or another batch size: these networks normalise single values over the batch"
        raise InputError("data.train_dataloader", f"a batch of one image ({error})", expected) from None
