"""The methods that can be compared, by name.

If a method trains more networks than members, its members are the best choice by validation NLL; NES-RS and NES-RE use
ForwardSelect instead. All ensembles are calibrated in the same way.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

from nni_hypens.compare.bench import Workbench
from nni_hypens.compare.deep_ensembles import (
    base_ensemble,
    best_architecture_of,
    deep_ensemble,
    random_deep_ensemble,
    random_single,
    search_ensemble_of,
    single,
)
from nni_hypens.compare.edgenes import adaptive, adaptive_random, edgenes, fixed_lam
from nni_hypens.compare.method import Method, PoolRecipe, Trained
from nni_hypens.compare.peers import (
    darts_deep_ensemble_on_pool,
    packed_ensemble,
    residual_ensemble,
    residual_ensemble_on_pool,
    snapshots,
    snapshots_on_pool,
)
from nni_hypens.compare.pool_peers import DARTS, RESIDUAL, SNAPSHOTS
from nni_hypens.compare.pools import evolution, random_deviations, random_pool, random_search
from nni_hypens.errors import InputError
from nni_hypens.search.jensen_shannon import JensenShannon

_adaptive_random_once = lru_cache(maxsize=1)(adaptive_random)
"""On a pool, deciding takes most of the time, and `best_architecture` begins with the same decisions."""

METHODS: dict[str, Method] = {
    "adaptive": Method(
        "EdgeNES, adaptive", adaptive, "hypernetwork search, then each training chosen to help the ensemble most"
    ),
    "edgenes": Method("EdgeNES", edgenes("edgenes"), "hypernetwork candidates, ranked on the supernet"),
    "edgenes_js": Method(
        "EdgeNES, Jensen-Shannon", edgenes("edgenes_js", diversity=JensenShannon()), "the papers' other regulariser"
    ),
    "fixed_lam": Method(
        "EdgeNES, no hypernetwork", fixed_lam, "one search for each member, each at a different lam", fills=False
    ),
    "adaptive_random": Method(
        "adaptive, no search",
        adaptive_random,
        "adaptive training that starts with random architectures",
        on_pool=_adaptive_random_once,
    ),
    "adaptive_new_weights": Method(
        "adaptive, new weights",
        partial(adaptive_random, goes_on=False),
        "the same, but no network is trained further",
        on_pool=partial(adaptive_random, goes_on=False),
    ),
    "best_architecture": Method(
        "DeepEns of our best",
        best_architecture_of(adaptive),
        "seeds of the best architecture of adaptive EdgeNES",
        on_pool=best_architecture_of(_adaptive_random_once),
    ),
    "base_ensemble": Method("DeepEns of the base", base_ensemble, "seeds of the base of EdgeNES"),
    "darts": Method("DARTS, single", single("darts"), "one network of NNI's DARTS", fills=False),
    "gumbel_darts": Method(
        "GumbelDARTS, single", single("gumbel_darts"), "one network of NNI's GumbelDARTS", fills=False
    ),
    "enas": Method("ENAS, single", single("enas"), "one network of NNI's ENAS", fills=False),
    "random": Method(
        "random, single", random_single, "one network of a random architecture", fills=False, on_pool=random_single
    ),
    "darts_deep_ensemble": Method(
        "DeepEns of DARTS",
        deep_ensemble("darts"),
        "seeds of the architecture of one DARTS run",
        fills=False,
        on_pool=darts_deep_ensemble_on_pool,
        peer=DARTS,
    ),
    "darts_ensemble": Method(
        "DartsEns", search_ensemble_of("darts"), "one network of each of several DARTS runs", fills=False
    ),
    "enas_ensemble": Method(
        "EnasEns", search_ensemble_of("enas"), "one network of each of several ENAS runs", fills=False
    ),
    "random_deep_ensemble": Method(
        "DeepEns of the best random",
        random_deep_ensemble,
        "half random architectures, half seeds of the best of them",
        on_pool=random_deep_ensemble,
    ),
    "random_pool": Method("Random-NES", random_pool, "random architectures", on_pool=random_pool),
    "random_search": Method(
        "NES-RS", random_search, "random architectures with forward selection", on_pool=random_search
    ),
    "random_deviations": Method("RandomD-NES", random_deviations, "random deviations from the base by two edges"),
    "evolution": Method("NES-RE", evolution, "regularised evolution with forward selection", on_pool=evolution),
    "residual_ensemble": Method(
        "DeepEns of a ResNet",
        residual_ensemble,
        "seeds of a residual network designed by hand, of the median size",
        on_pool=residual_ensemble_on_pool,
        peer=RESIDUAL,
    ),
    "snapshots": Method(
        "Snapshots",
        snapshots,
        "snapshots of one cyclic training of that residual network",
        fills=False,
        on_pool=snapshots_on_pool,
        peer=SNAPSHOTS,
    ),
    "packed_ensemble": Method(
        "Packed ensemble",
        packed_ensemble,
        "one packed ensemble of that residual network, as wide as the budget pays for",
    ),
}


def method_of(name: str) -> Method:
    """Look up a method: one of `METHODS`, or one followed by `@N`.

    The networks of `adaptive@3` are trained for 3 times as many epochs. At the same budget there are fewer of them.

    Raises:
        InputError: There is no method of that name.
    """
    plain, at, factor = name.partition("@")
    if plain not in METHODS or (at and not (factor.isdecimal() and int(factor) > 1)):
        names = ", ".join(METHODS)
        raise InputError("methods", repr(name), f"one of {names}, or with @2, @3, ... for 2, 3, ... times the epochs")
    method = METHODS[plain]
    if not at:
        return method

    def recipe(bench: Workbench, members: int, budget: float) -> Trained:
        return method.recipe(bench.longer(int(factor)), members, budget)

    return replace(method, title=f"{method.title}, {factor}x", recipe=recipe)


def pool_methods(peers: bool = False) -> list[str]:
    """Names of the methods that run on a pool of trained networks.

    Args:
        peers: Whether those are among them that need a pool with more than architectures of the space.
    """
    return [name for name, method in METHODS.items() if method.on_pool is not None and (peers or not method.peer)]


def pool_recipe(name: str) -> PoolRecipe:
    """What a method does on a pool.

    Raises:
        InputError: There is no method of that name, or it needs what a pool does not have.
    """
    recipe = method_of(name).on_pool
    if recipe is None or "@" in name:
        lacks = "networks that were trained for longer" if "@" in name else "a search (it has no `on_pool`)"
        names = ", ".join(pool_methods(peers=True))
        raise InputError("methods", f"{name}, which needs {lacks}", f"one that runs on a pool: {names}")
    return recipe


def method_order(name: str) -> str:
    """Key by which methods are sorted in tables.

    The order is that of `METHODS`, each followed by its longer trainings. Methods that this version does not know come
    last.
    """
    plain, _, factor = name.partition("@")
    position = list(METHODS).index(plain) if plain in METHODS else len(METHODS)
    return f"{position:03d} {factor:>4} {name}"
