"""A bench on a pool of trained networks: nothing is trained, so a comparison on many seeds takes a minute."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from nni_hypens import metrics
from nni_hypens.compare.bench import Clock, Network
from nni_hypens.compare.pool import FLOW, PARTS, Pool
from nni_hypens.compare.pool_peers import PEER, Peer, read_further, read_peers
from nni_hypens.ensemble.calibration import calibrated_alone
from nni_hypens.ensemble.folder import trusted_class
from nni_hypens.errors import InputError, reason
from nni_hypens.proposals.features import architecture_features
from nni_hypens.space.architecture import Edge, EdgeKey, EdgeStructure, Sample
from nni_hypens.utils.seeds import Purpose, derive_seed

SEEN, LEAST_SEEN = 0.5, 12
"""Share of the pool's architectures that a simulated run can draw from, and the least number."""


class PooledNetworks:
    """The networks of a pool, decoded once for the benches of all seeds.

    Args:
        pool: The pool.
        name: Its file, for errors.

    Attributes:
        samples: The architectures of the space with a network, `P` of them.
        networks: The networks of each; the first is one that was trained further, where there is one.
        average_cost: Mean over the architectures of the seconds that their first network took.
        peers: What other methods have trained, by name.
        further: Of each network that was trained further, by its `id`, the network after the next schedule.

    Raises:
        InputError: Its space is not one that comes with nni_hypens or NNI, or its architectures are not of that space.
    """

    def __init__(self, pool: Pool, name: str) -> None:
        self.pool, self.name = pool, name
        self.structure = RememberedEdges.of(_structure(pool, name))
        self.labels = {part: pool.labels[part].astype(int) for part in PARTS}
        rows_of: dict[int, list[int]] = {}
        for row in np.lexsort((pool.columns["replica"], pool.columns["architecture"])).tolist():
            rows_of.setdefault(int(pool.columns["architecture"][row]), []).append(row)
        by_number = {number: rows for number, rows in rows_of.items() if PEER not in pool.architectures[number]}
        if len(by_number) < 2:
            raise InputError("pool", f"{name} with {len(by_number)} trained architectures", "2 or more")
        probs = {part: pool.probabilities(part) for part in PARTS}
        alone = calibrated_alone(probs["validation"], self.labels["validation"]).astype(np.float32)
        nll = metrics.nll_of_each(alone, self.labels["validation"])
        nll[~np.isfinite(pool.columns["validation_nll"][:, -1])] = np.inf  # its training diverged
        costs = pool.columns["cpu_seconds"][:, -1].tolist()
        replicas = pool.columns["replica"].tolist()
        params, flops = pool.columns["params"], pool.columns["flops"]
        flows = pool.columns.get(FLOW, np.full(len(pool), np.nan))

        def networks(rows: list[int], sample: Sample, peer: str = "") -> list[Network]:
            parts = ((replicas[row], probs["validation"][row], probs["test"][row], row) for row in rows)
            return [
                Network(sample, replica, validation, test, nll[row], costs[row], alone[row], peer, str(row))
                for replica, validation, test, row in parts
            ]

        self.samples: list[Sample] = []
        self.networks: list[list[Network]] = []
        self._sizes: list[tuple[float, float]] = []
        self._flows: list[float] = []
        self._index: dict[EdgeKey, int] = {}
        self.further: dict[int, Network] = {}
        further = read_further(pool, name)
        for number, rows in by_number.items():
            sample = self.structure.table.validate(pool.architectures[number], f"{name}: architecture {number}")
            if self._index.setdefault(self.structure.remembered(sample), len(self.samples)) < len(self.samples):
                raise InputError("pool", f"{name} with architecture {number} twice", "different architectures")
            self.samples.append(sample)
            chain = networks(rows_of.get(further.get(number, -1), []), sample)
            self.further |= {id(network): after for network, after in zip(chain, chain[1:], strict=False)}
            self.networks.append([*chain[:1], *networks(rows, sample)])
            self._sizes.append((1.0 + float(params[rows[0]]), 1.0 + float(flops[rows[0]])))
            self._flows.append(float(flows[rows[0]]))
        self.average_cost = float(np.mean([of_one[0].cost for of_one in self.networks]))
        self.peers: dict[str, list[Peer]] = {}
        for entry in read_peers(pool, self.structure, name):
            found = networks(rows_of.get(entry.number, []), entry.sample, entry.title)
            self.peers.setdefault(entry.name, []).append(Peer(found, entry.search_s))

    def index(self, sample: Sample) -> int | None:
        """Which of `samples` an architecture is; None if it has no network."""
        return self._index.get(self.structure.key(sample))

    def size(self, sample: Sample) -> tuple[float, float]:
        """Parameters and FLOPs of an architecture in the pool, each plus one."""
        return self._sizes[self._index[self.structure.key(sample)]]

    def flow(self, sample: Sample) -> float:
        """Synaptic flow of an architecture in the pool, which must have recorded it."""
        return self._flows[self._index[self.structure.key(sample)]]

    def usable_peers(self, name: str, members: int) -> list[Peer]:
        """Trainings or searches of another method that have networks for so many members.

        Raises:
            InputError: There is none.
        """
        found = [peer for peer in self.peers.get(name, []) if len(peer.networks) >= members]
        if not found:
            most = max((len(peer.networks) for peer in self.peers.get(name, [])), default=0)
            got = f"{self.name}, where `{name}` has {most} networks"
            raise InputError("pool", got, f"{members} or more, or methods without `{name}`")
        return found

    @cached_property
    def shared(self) -> np.ndarray:
        """Share of edges `P x P` that each two architectures have in common."""
        shares: np.ndarray = architecture_features(self.structure, self.samples)[1]
        return shares


class RememberedEdges(EdgeStructure):
    """An `EdgeStructure` that remembers edges and keys of the architectures of a pool, which it is asked for a
    thousand times."""

    _edges: dict[int, list[Edge]]
    _keys: dict[int, EdgeKey]

    @classmethod
    def of(cls, structure: EdgeStructure) -> RememberedEdges:
        """The same structure, which remembers nothing yet."""
        remembered = cls(structure.table, structure.groups, structure.conditions)
        remembered._edges, remembered._keys = {}, {}
        return remembered

    def remembered(self, sample: Sample) -> EdgeKey:
        """Remember an architecture, which must not change and must be kept as long as this; its key."""
        self._edges[id(sample)], self._keys[id(sample)] = super().edges(sample), super().key(sample)
        return self._keys[id(sample)]

    def edges(self, sample: Sample) -> list[Edge]:
        """As for `EdgeStructure`."""
        known = self._edges.get(id(sample))
        return super().edges(sample) if known is None else list(known)

    def key(self, sample: Sample) -> EdgeKey:
        """As for `EdgeStructure`."""
        known = self._keys.get(id(sample))
        return super().key(sample) if known is None else known


class PoolBench:
    """A bench, as `nni_hypens.compare.Workbench`, whose networks come from a pool and cost what the pool recorded.

    What a workbench draws from the space is drawn from half of the pool's architectures; the seed decides which half,
    and in which order. Were it all of them, every seed would find the same best one. The seed also decides which
    network of an architecture comes first, second, .... Deciding costs nothing.

    Args:
        pooled: The networks.
        seed: Seed of the simulated comparison.
    """

    def __init__(self, pooled: PooledNetworks, seed: int) -> None:
        self.pooled, self.seed = pooled, seed
        self.structure: EdgeStructure = pooled.structure
        self.validation_labels, self.test_labels = (pooled.labels[part] for part in PARTS)
        count = len(pooled.samples)
        drawn = np.random.default_rng(derive_seed(seed, Purpose.POOL_ARCHITECTURES)).permutation(count)
        self._seen: list[int] = sorted(drawn[: max(math.ceil(SEEN * count), min(LEAST_SEEN, count))].tolist())
        self.architectures: Sequence[Sample] = [pooled.samples[index] for index in self._seen]
        self._order: dict[int, list[int]] = {}

    def random(self, n: int, seed: int) -> list[Sample]:
        """Up to `n` of the architectures, in an order that the seed decides."""
        order = np.random.default_rng(seed).permutation(len(self.architectures))
        return [self.architectures[index] for index in order[:n].tolist()]

    def neighbours(self, sample: Sample, trained: Sequence[Sample]) -> list[Sample]:
        """Of the other architectures with a network that is not trained yet, those that share most edges."""
        index = self.pooled.index(sample)
        counts = Counter(self.pooled.index(other) for other in trained)
        left = [other for other in self._seen if other != index and counts[other] < len(self.pooled.networks[other])]
        shared = {other: self.pooled.shared[index, other] for other in left}
        return [self.pooled.samples[other] for other in left if shared[other] == max(shared.values())]

    def traits(self) -> Callable[[Sample], tuple[float, float]]:
        """Recorded parameters and FLOPs, each plus one."""
        return self.pooled.size

    def flow(self) -> Callable[[Sample], float] | None:
        """Recorded synaptic flow; None if the pool has none."""
        return self.pooled.flow if FLOW in self.pooled.pool.columns else None

    def offers(self, sample: Sample, replica: int) -> bool:
        """Whether the pool has so many networks of an architecture."""
        index = self.pooled.index(sample)
        return index is not None and replica < len(self.pooled.networks[index])

    def order(self, index: int, may_go_on: bool = False) -> list[int]:
        """Which of its networks is an architecture's first, second, ... with this seed.

        Args:
            index: Of the architecture.
            may_go_on: Whether one that was trained further comes first, if there is one. It is the same with every
                seed, so only for methods that may go on with it.
        """
        if index not in self._order:
            seed = derive_seed(self.seed, Purpose.POOL_REPLICAS, index)
            self._order[index] = np.random.default_rng(seed).permutation(len(self.pooled.networks[index])).tolist()
        order, networks = self._order[index], self.pooled.networks[index]
        return sorted(order, key=lambda place: id(networks[place]) not in self.pooled.further) if may_go_on else order

    def network(self, sample: Sample, replica: int = 0, may_go_on: bool = False) -> Network:
        """A network of an architecture in the pool.

        Args:
            sample: An architecture of the pool.
            replica: Its place in `order`.
            may_go_on: As for `order`.

        Raises:
            LookupError: The pool has no such network; ask `offers` first.
        """
        index = self.pooled.index(sample)
        if index is None or not self.offers(sample, replica):
            what = f"no network {replica} of {self.structure.describe(sample)} in {self.pooled.name}"
            raise LookupError(f"{what}; draw from `random`, `neighbours` or `architectures`, and ask `offers` first")
        return self.pooled.networks[index][self.order(index, may_go_on)[replica]]

    def offers_further(self, network: Network) -> bool:
        """Whether the pool has this network after one more schedule."""
        return id(network) in self.pooled.further

    def further(self, network: Network) -> Network:
        """A network after one more schedule; ask `offers_further` first."""
        return self.pooled.further[id(network)]

    def peer(self, name: str, members: int) -> Peer:
        """What another method has trained; the seed decides which of its trainings or searches it is.

        Args:
            name: Name of its entries in the pool.
            members: At least so many networks are needed.

        Raises:
            InputError: The pool has none.
        """
        usable = self.pooled.usable_peers(name, members)
        return usable[int(self._generator(name).integers(len(usable)))]

    def shuffled(self, name: str, networks: Sequence[Network]) -> list[Network]:
        """Networks of a peer, in an order that the seed decides."""
        return [networks[index] for index in self._generator(name, "order").permutation(len(networks)).tolist()]

    def _generator(self, *index: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, Purpose.POOL_PEERS, *index))

    @contextmanager
    def charged(self, name: str, clock: Clock) -> Iterator[None]:
        """Charge nothing, so that the same seed gives the same rows on every machine."""
        yield


def _structure(pool: Pool, name: str) -> EdgeStructure:
    """Edges of the pool's space. Its class is looked up among those that come with nni_hypens and NNI."""
    space, arguments = pool.settings.get("space"), pool.settings.get("space_args", {})
    expected = "settings with the `space` of a class of search_spaces or NNI, such as search_spaces:OneCell"
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return EdgeStructure.from_space(trusted_class(str(space))(**arguments))
    except Exception as error:  # the arguments come from the file, and NNI raises anything
        raise InputError("pool", f"{name} of the space {space!s:.80} ({reason(error)})", expected) from None
