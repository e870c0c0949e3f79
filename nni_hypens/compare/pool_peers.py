"""What a pool of trained networks has of methods that do not draw from the space: its peers, read from its entries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from nni_hypens.compare.bench import Network
from nni_hypens.compare.pool import Pool
from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeStructure, Sample

PEER = "peer"
"""Key of an entry of `Pool.architectures` that is no architecture of the space, but what another method trains."""
RESIDUAL, SNAPSHOTS, DARTS = "residual", "snapshots", "darts"
FURTHER = "further"
"""What a pool has of an architecture's network that was trained further: `{"peer": "further", "architecture": NUMBER}`,
whose replica is the number of schedules, from 1."""


@dataclass(frozen=True)
class Peer:
    """One training or search of another method.

    Args:
        networks: By replica; of snapshots, by cycle.
        search_s: CPU seconds of the search.
    """

    networks: list[Network]
    search_s: float = 0.0


@dataclass(frozen=True)
class PeerEntry:
    """An entry of a pool.

    Args:
        name: `residual`, `snapshots` or `darts`.
        number: Number under which its networks are.
        title: What its networks are; empty for an architecture of the space.
        sample: The architecture, if it is one of the space.
        search_s: CPU seconds of the search.
    """

    name: str
    number: int
    title: str
    sample: Sample = field(default_factory=dict)
    search_s: float = 0.0


def read_further(pool: Pool, name: str) -> dict[int, int]:
    """Number of an architecture -> number under which its network is that was trained further.

    Args:
        pool: The pool.
        name: Its file, for errors.

    Raises:
        InputError: An entry of another form.
    """
    found: dict[int, int] = {}
    for number, entry in enumerate(pool.architectures):
        if entry.get(PEER) == FURTHER:
            of = entry.get("architecture")
            if type(of) is not int or of not in range(number) or PEER in pool.architectures[of] or of in found:
                got = f"{name}: architecture {number} with architecture {of!r:.40}"
                raise InputError("pool", got, "the number of an architecture before it, once each")
            found[of] = number
    return found


def read_peers(pool: Pool, structure: EdgeStructure, name: str) -> Iterator[PeerEntry]:
    """The peers of a pool. A search that has no result yet and peers that this version does not know are left out.

    Args:
        pool: The pool.
        structure: Edges of its space.
        name: Its file, for errors.

    Raises:
        InputError: An entry of another form.
    """
    for number, entry in enumerate(pool.architectures):
        peer = entry.get(PEER)
        if peer in (RESIDUAL, SNAPSHOTS):
            yield PeerEntry(peer, number, peer)
        elif peer == DARTS and "sample" in entry:
            where = f"{name}: architecture {number}"
            sample = structure.table.validate(entry["sample"], where)
            networks, seconds = entry.get("networks"), entry.get("search_cpu_seconds")
            if type(networks) is not int or networks not in range(len(pool.architectures)):
                raise InputError("pool", f"{where} with networks {networks!r:.40}", "the number of an architecture")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise InputError("pool", f"{where} with search_cpu_seconds {seconds!r:.40}", "a number of at least 0")
            yield PeerEntry(peer, networks, "", sample, float(seconds))
