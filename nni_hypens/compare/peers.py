"""Methods without a search: a residual network designed by hand, snapshots of one training, and a packed ensemble.

On a pool of trained networks these are what the pool has of them, see `tests/benchmarks/pool_peers.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import numpy as np
from torch import nn

from nni_hypens.compare.bench import Clock, Network, Workbench
from nni_hypens.compare.method import MAX_NETWORKS, Trained, random_samples, train_until_spent
from nni_hypens.compare.packed import RESERVED, PackedNetwork, fitting_width, width_step
from nni_hypens.compare.pool_bench import PoolBench
from nni_hypens.compare.pool_peers import DARTS, RESIDUAL, SNAPSHOTS
from nni_hypens.compare.residual import Residual, residual_of_size
from nni_hypens.errors import InputError
from nni_hypens.space.cost import NetworkSize
from nni_hypens.utils.files import read_object, write_json
from nni_hypens.utils.inputs import is_image

MEASURED = 15
"""Random architectures whose median size the residual network has."""


def residual_sizes(bench: Workbench) -> tuple[Residual, float]:
    """Sizes of the residual network of a workbench, and the seconds that it took to find them.

    Parameters and FLOPs are as close as they can be to the medians of random architectures of the space.

    Raises:
        InputError: The data are no images.
    """
    plan, path = bench.plan, bench.folder / "residual.json"
    if not is_image(plan.data.input_spec):
        raise InputError("methods", "a residual network for data that are no images", "methods that search the space")
    if not path.exists():
        clock = Clock()
        with clock.running():
            size = NetworkSize(plan.train_space, plan.input_shape)
            costs = [size.cost(sample) for sample in random_samples(bench, MEASURED)]
            medians = [float(np.median(values)) for values in zip(*costs, strict=True)]
            sizes = residual_of_size(*medians, plan.input_shape, plan.data.num_classes)
        medians_of = dict(zip(("median_params", "median_flops"), medians, strict=True))
        write_json(path, {"sizes": asdict(sizes), **medians_of, "cost": clock.seconds})
    record = read_object(path)
    return Residual(**record["sizes"]), record["cost"]


def _builder(bench: Workbench, sizes: Residual) -> Callable[[], nn.Module]:
    return partial(sizes.network, bench.plan.input_shape[0], bench.plan.data.num_classes)


def residual_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """Seeds of a residual network designed by hand, as large as the median architecture (He et al. 2016)."""
    sizes, seconds = residual_sizes(bench)

    def train(replica: int) -> Network:
        return bench.peer("residual", _builder(bench, sizes), replica)[0]

    trainings = (partial(train, replica) for replica in range(MAX_NETWORKS))
    return Trained(train_until_spent(members, budget - seconds, trainings), seconds)


def snapshots(bench: Workbench, members: int, budget: float) -> Trained:
    """Snapshot ensemble (Huang et al. 2017) of the same residual network.

    Its learning rate falls and starts anew once for each member. A cycle is the whole training of a network, begun with
    the weights of the last cycle; the optimizer is new.
    """
    sizes, seconds = residual_sizes(bench)
    return Trained(bench.peer("snapshots", _builder(bench, sizes), cycles=members), seconds, choose=False)


def packed_ensemble(bench: Workbench, members: int, budget: float) -> Trained:
    """One packed ensemble (Laurent et al. 2023) of that residual network, as wide as the budget pays for.

    The width is found by timing a few steps, and that time is charged too. All members are trained at once.
    """
    sizes, seconds = residual_sizes(bench)
    channels, classes = bench.plan.input_shape[0], bench.plan.data.num_classes
    epochs = int(bench.plan.evaluator.trainer.max_epochs)
    path = bench.folder / f"packed-{members}-{epochs}-{budget:.6g}.json"

    def builder(width: int) -> Callable[[], nn.Module]:
        return partial(PackedNetwork, replace(sizes, width=width), members, channels, classes)

    if not path.exists():
        clock = Clock()
        with clock.running():
            width = fitting_width(
                lambda width: bench.training_seconds(builder(width)),
                (1 - RESERVED) * (budget - seconds),
                sizes.width,
                width_step(members),
            )
        write_json(path, {"sizes": asdict(replace(sizes, width=width)), "cost": clock.seconds})
    record = read_object(path)
    width = record["sizes"]["width"]
    networks = bench.peer(f"packed-{members}x{width}", builder(width), members=members)
    return Trained(networks, seconds + record["cost"], choose=False)


def residual_ensemble_on_pool(bench: PoolBench, members: int, budget: float) -> Trained:
    """Seeds of the pool's residual network; the seed decides in which order."""
    networks = bench.shuffled(RESIDUAL, bench.peer(RESIDUAL, members).networks)
    return Trained(train_until_spent(members, budget, (partial(_same, network) for network in networks)))


def snapshots_on_pool(bench: PoolBench, members: int, budget: float) -> Trained:
    """The first snapshots of one of the pool's cyclic trainings; the seed decides which training."""
    return Trained(bench.peer(SNAPSHOTS, members).networks[:members], choose=False)


def darts_deep_ensemble_on_pool(bench: PoolBench, members: int, budget: float) -> Trained:
    """Seeds of the architecture that one of the pool's DARTS searches found; the seed decides which search."""
    peer = bench.peer(DARTS, members)
    return Trained(bench.shuffled(DARTS, peer.networks)[:members], peer.search_s, choose=False)


def _same(network: Network) -> Network:
    return network
