from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from nni_hypens import metrics
from nni_hypens.ensemble.calibration import Combination, apply_temperature, calibrate, combine, fit_temperature
from nni_hypens.ensemble.conformal import fit_conformal, measure
from nni_hypens.run import evaluation
from nni_hypens.run.baselines import other_sizes
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.evaluation import candidates_alone, evaluate_pool


def make(
    n: int = 4,
) -> tuple[dict[str, list[np.ndarray]], np.ndarray, np.ndarray, list[Candidate], dict[str, Any]]:
    generator = np.random.default_rng(0)
    validation_labels, test_labels = generator.integers(0, 3, 30), generator.integers(0, 3, 40)
    pool = {f"c{i:02d}": [generator.dirichlet(np.ones(3), 30), generator.dirichlet(np.ones(3), 40)] for i in range(n)}
    records = [
        Candidate(
            f"c{i:02d}",
            None if i == 0 else float(i),
            i,
            "base" if i == 0 else "draw",
            (1.0, 0.7, 1.3, 0.9, 0.8)[i],
            {},
            (("n", 0, str(i)),),
            "",
        )
        for i in range(min(n, 4) + 1)
    ]
    trials = {name: {"validation": {}, "seconds": 1.0, "parameters": 5} for name in pool}
    return (
        pool,
        validation_labels,
        test_labels,
        records,
        {**trials, f"c{n:02d}": {"status": "failed", "error": "killed"}},
    )


def linear(temperature: float, members: int, own: tuple[float, ...] | None = None) -> Combination:
    """Averages of probabilities, which the tests can write down by hand."""
    return Combination(temperature, own or (1.0,) * members, "linear")


ONE, TWO, THREE = (linear(1.0, members) for members in (1, 2, 3))
WARM = linear(1.7, 2)


def test_every_number_is_what_it_says() -> None:
    pool, validation, test, records, trials = make()
    results = evaluate_pool(pool, validation, test, [("c01", 0.75), ("c03", 0.25)], WARM, records, trials)
    json.dumps(results, allow_nan=False)
    average = 0.75 * pool["c01"][1] + 0.25 * pool["c03"][1]
    assert results["ensemble"] == metrics.summary(apply_temperature(average, 1.7), test)
    assert results["ensemble_uncalibrated"] == metrics.summary(average, test)
    assert [row["id"] for row in results["members"]] == ["c01", "c03"]
    assert results["members"][1]["nll"] == metrics.nll(pool["c03"][1], test)
    assert results["diversity"]["disagreement"] == pytest.approx(
        (pool["c01"][1].argmax(1) != pool["c03"][1].argmax(1)).mean()
    )
    assert results["diversity"]["base_shared_edges"] == [1, 3]
    assert results["top_k"][0] == {"name": "ensemble", "top_k_2": metrics.top_k(average, test)["top_k_2"]}
    assert results["uncertainty"]["rows"][0]["count"] == 40
    assert [row["count"] for row in results["uncertainty"]["rows"][1:]] == [
        round(results["ensemble"]["accuracy"] * 40), 40 - round(results["ensemble"]["accuracy"] * 40)
    ]  # fmt: skip
    failed = results["candidates"][-1]
    assert failed["status"] == "failed" and failed["error"] == "killed" and "test" not in failed
    assert [row["is_member"] for row in results["candidates"][:-1]] == [False, True, False, True]


def test_the_temperature_of_each_candidate_is_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, validation, test, records, trials = make()
    fits = []
    monkeypatch.setattr(evaluation, "fit_temperature", lambda *given: fits.append(given) or fit_temperature(*given))
    arguments = (pool, validation, test, [("c01", 0.75), ("c03", 0.25)], WARM, records, trials)
    fitted = evaluate_pool(*arguments)
    assert len(fits) == len(pool)
    alone = candidates_alone(pool, validation, "ensemble")
    fits.clear()
    assert evaluate_pool(*arguments, alone=alone) == fitted and not fits


def test_pairs_of_many_members_are_left_out_and_their_mean_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, validation, test, records, trials = make()
    arguments = (pool, validation, test, [(name, 0.25) for name in pool], linear(1.0, 4), records, trials)
    few = evaluate_pool(*arguments)["diversity"]
    monkeypatch.setattr(evaluation, "MOST_PAIRED", 3)
    many = evaluate_pool(*arguments)["diversity"]
    assert few.keys() - many.keys() == {"pairwise"} and many["disagreement"] == pytest.approx(few["disagreement"])


@pytest.mark.parametrize("pooling", ["log", "linear"])
def test_ensembles_of_other_sizes_are_compared_as_they_were_fitted(pooling: str) -> None:
    pool, validation, test, records, trials = make()
    members = [("c01", 0.5), ("c02", 0.25), ("c03", 0.25)]
    costs = {"parameters": 10}
    fitted = {
        "temperature": 1.5,
        "member_temperatures": [1.0, 2.0],
        "score": 0.5,
        "validation_nll": 0.25,
        "costs": costs,
    }
    two = {"method": "greedy", "members": ["c01", "c03"], "weights": [0.5, 0.5], **fitted}
    everyone = {**two, "method": "all", "weights": [0.9, 0.1]}
    chosen = Combination(1.7, (1.0,) * 3, pooling)
    sizes = other_sizes(pool, [two, everyone], pooling)
    found = evaluate_pool(pool, validation, test, members, chosen, records, trials, sizes=sizes)
    stack = np.stack([pool["c01"][1], pool["c03"][1]])
    names = ["ensemble of 2 (c01, c03)", "all candidates, weighted (2 with a weight)"]
    for row, name, given in zip(found["sizes"], names, (two, everyone), strict=True):
        probs = combine(stack, given["weights"], Combination(1.5, (1.0, 2.0), pooling))
        about = {"name": name, "members": ["c01", "c03"], "method": given["method"], "costs": costs}
        assert row == {**about, **metrics.summary(probs, test)}
        measured = next(row for row in found["intervals"]["rows"] if row["name"] == name)
        assert measured["nll"]["difference"] == pytest.approx(found["ensemble"]["nll"] - metrics.nll(probs, test))
    assert evaluate_pool(pool, validation, test, members, chosen, records, trials)["sizes"] == []


def test_prediction_sets_are_fitted_on_validation_data_and_measured_on_test_data() -> None:
    pool, validation, test, records, trials = make()
    found = evaluate_pool(pool, validation, test, [("c01", 0.75), ("c03", 0.25)], WARM, records, trials)
    fitted_on, measured_on = (
        apply_temperature(0.75 * pool["c01"][part] + 0.25 * pool["c03"][part], 1.7) for part in (0, 1)
    )
    wanted = measure(fit_conformal(fitted_on, validation), measured_on, test)
    assert found["prediction_sets"] == {"score": "lac", "images": 30, "rows": wanted} and len(wanted) == 3
    other = evaluate_pool(pool, (validation + 1) % 3, test, [("c01", 1.0)], ONE, records, trials)["prediction_sets"]
    assert [row["threshold"] for row in other["rows"]] != [row["threshold"] for row in wanted]


def test_ranking_of_the_supernet() -> None:
    """Spearman against scipy, over trained candidates alone."""
    pool, validation, test, records, trials = make()
    results = evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, records, trials)
    trained = [record for record in records if record.id in pool]
    after = [metrics.nll(pool[record.id][0], validation) for record in trained]
    wanted = spearmanr([record.supernet_nll for record in trained], after).statistic
    assert len(trained) == len(records) - 1  # one failed
    found = {"candidates": len(trained), "architectures": len(trained)}
    assert results["ranking"] == {"spearman": pytest.approx(wanted), **found}
    twins = [*records[:4], replace(records[3], id="c04")]  # two networks of one architecture
    both = {**pool, "c04": pool["c00"]}
    results = evaluate_pool(both, validation, test, [("c01", 1.0)], ONE, twins, {**trials, "c04": trials["c00"]})
    mean = (after[3] + after[0]) / 2
    wanted = spearmanr([record.supernet_nll for record in trained], [*after[:3], mean]).statistic
    assert results["ranking"] == {"spearman": pytest.approx(wanted), "candidates": 5, "architectures": 4}
    alike = [replace(record, supernet_nll=1.0) for record in records]
    for some in (alike, records[:2]):
        assert evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, some, trials)["ranking"]["spearman"] is None


def test_rankings_are_held_against_known_results() -> None:
    pool, validation, test, records, trials = make()
    assert "known_results" not in evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, records, trials)
    known = [
        replace(record, edges=(("n", 0, record.id),), known={"accuracy": -record.supernet_nll}) for record in records
    ]
    results = evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, known, trials)
    own = results["known_results"]["metrics"]["accuracy"]
    assert own["supernet_nll"] == {"spearman": pytest.approx(-1.0), "architectures": 5}
    assert own["validation_nll"]["architectures"] == 4  # one failed
    assert own["validation_nll"]["spearman"] == pytest.approx(-results["ranking"]["spearman"])
    assert [row["known"] for row in results["candidates"]] == [record.known for record in known]


def test_best_member_is_chosen_on_validation_data_alone() -> None:
    pool, validation, test, records, trials = make()
    members = [(name, 0.25) for name in pool]
    best = min(pool, key=lambda name: metrics.nll(pool[name][0], validation))
    for labels in (test, (test + 1) % 3):
        assert (
            evaluate_pool(pool, validation, labels, members, linear(1.0, 4), records, trials)["best_member"]["id"]
            == best
        )


def test_baselines_at_hand() -> None:
    """Each is calibrated like the ensemble, here by one temperature on its average of probabilities."""
    pool, validation, test, records, trials = make()

    def nll(*names: str) -> float:
        on_validation, on_test = (np.mean([pool[name][part] for name in names], axis=0) for part in (0, 1))
        return metrics.nll(apply_temperature(on_test, fit_temperature(on_validation, validation)), test)

    rows = evaluate_pool(pool, validation, test, [("c01", 0.5), ("c02", 0.5)], TWO, records, trials)["baselines"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["base architecture alone"]["nll"] == pytest.approx(nll("c00"))
    assert by_name["all 4 candidates averaged"]["nll"] == pytest.approx(nll(*pool))
    best = min(("c01", "c02"), key=lambda name: metrics.nll(pool[name][0], validation))
    assert by_name["best member, calibrated"]["nll"] == pytest.approx(nll(best))
    pairs = [nll(a, b) for a, b in combinations(pool, 2)]
    assert by_name["any 2 of the candidates (mean of 6 choices)"]["nll"] == pytest.approx(np.mean(pairs))
    pool.pop("c00")
    rows = evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, records, trials)["baselines"]
    assert "base architecture alone" not in {row["name"] for row in rows}


@pytest.mark.parametrize("pooling", ["log", "linear"])
@pytest.mark.parametrize("calibration", ["ensemble", "members", "none"])
def test_baselines_are_combined_like_the_ensemble(calibration: str, pooling: str) -> None:
    """The average of all candidates, as a baseline, is the ensemble of all of them."""
    pool, validation, test, records, trials = make()
    equal, stack = np.full(4, 0.25), np.stack([parts[0] for parts in pool.values()])
    fitted = calibrate(calibration, stack, equal, validation, pooling)
    members = [(name, 0.25) for name in pool]
    found = evaluate_pool(pool, validation, test, members, fitted, records, trials, calibration)
    (row,) = [row for row in found["baselines"] if row["name"] == "all 4 candidates averaged"]
    assert {key: row[key] for key in found["ensemble"]} == pytest.approx(found["ensemble"])
    difference = next(one for one in found["intervals"]["rows"] if one["name"] == row["name"])["nll"]["difference"]
    assert difference == pytest.approx(0, abs=1e-12)


def test_of_many_subsets_some_are_drawn_by_the_seed() -> None:
    pool, validation, test, records, trials = make(9)
    members = [(name, 0.25) for name in list(pool)[:4]]  # 126 choices
    records = [replace(records[0], id=name, source="draw") for name in pool]
    names = [
        evaluate_pool(pool, validation, test, members, linear(1.0, 4), records, trials, "none", seed)["baselines"][-1]
        for seed in (0, 0, 1)
    ]
    assert names[0] == names[1] != names[2] and names[0]["name"].endswith("(mean of 50 choices)")


@pytest.mark.parametrize("calibration", ["ensemble", "none"])
def test_why_each_member_is_in_and_what_it_would_be_without(calibration: str) -> None:
    """Gains are of what selection compares: candidates with their own temperatures, unless the run uses none."""
    pool, validation, test, records, trials = make()
    members = [("c01", 0.75), ("c03", 0.25)]
    first, second = evaluate_pool(pool, validation, test, members, TWO, records, trials, calibration)["members"]
    own = {name: fit_temperature(parts[0], validation) for name, parts in pool.items()}
    used = {name: 1.0 if calibration == "none" else own[name] for name in pool}
    alone = {name: [apply_temperature(one, used[name]) for one in parts] for name, parts in pool.items()}
    for part, labels, key in ((0, validation, "validation_gain"), (1, test, "test_gain")):
        whole = metrics.nll(0.75 * alone["c01"][part] + 0.25 * alone["c03"][part], labels)
        assert first[key] == pytest.approx(metrics.nll(alone["c03"][part], labels) - whole)
        assert second[key] == pytest.approx(metrics.nll(alone["c01"][part], labels) - whole)
    swapped = {name: metrics.nll(0.75 * alone["c01"][0] + 0.25 * alone[name][0], validation) for name in ("c00", "c02")}
    whole = metrics.nll(0.75 * alone["c01"][0] + 0.25 * alone["c03"][0], validation)
    assert second["swap_for"] == min(swapped, key=swapped.get)
    assert second["swap_gain"] == pytest.approx(min(swapped.values()) - whole)
    assert first["own_temperature"] == own["c01"]
    single = evaluate_pool(pool, validation, test, [("c01", 1.0)], ONE, records, trials)["members"][0]
    assert single["validation_gain"] is single["test_gain"] is single["disagreement"] is None


@pytest.mark.parametrize("pooling", ["log", "linear"])
def test_each_way_to_combine_is_measured(pooling: str) -> None:
    pool, validation, test, records, trials = make()
    on_validation, on_test = (np.stack([pool[name][part] for name in ("c01", "c03")]) for part in (0, 1))
    used = calibrate("members", on_validation, [0.5, 0.5], validation, pooling)
    members = [("c01", 0.5), ("c03", 0.5)]
    found = evaluate_pool(pool, validation, test, members, used, records, trials, calibration="members")
    rows = {(row["pooling"], row["method"]): row for row in found["calibration"]["rows"]}
    assert list(rows) == [(a, b) for a in ("log", "linear") for b in ("ensemble", "members", "none")]
    assert (found["calibration"]["method"], found["calibration"]["pooling"]) == ("members", pooling)
    assert found["calibration"]["member_temperatures"] == list(used.members)
    assert found["ensemble"] == metrics.summary(combine(on_test, [0.5, 0.5], used), test)
    assert {key: rows[pooling, "members"][key] for key in found["ensemble"]} == pytest.approx(found["ensemble"])
    plain = {key: rows[pooling, "none"][key] for key in found["ensemble"]}
    assert plain == pytest.approx(found["ensemble_uncalibrated"])
    for (kind, method), row in rows.items():
        fitted = calibrate(method, on_validation, [0.5, 0.5], validation, kind)
        assert (row["temperature"], row["member_temperatures"]) == (fitted.temperature, list(fitted.members))
        assert row["validation_nll"] == metrics.nll(combine(on_validation, [0.5, 0.5], fitted), validation)
        assert row["nll"] == metrics.nll(combine(on_test, [0.5, 0.5], fitted), test)


def test_every_image_is_counted_in_its_class() -> None:
    pool, validation, test, records, trials = make()
    found = evaluate_pool(pool, validation, test, [("c01", 0.5), ("c03", 0.5)], TWO, records, trials)
    answers, classes = (pool["c01"][1] + pool["c03"][1]).argmax(1), found["classes"]
    assert classes["images"] == np.bincount(test).tolist()
    assert classes["right"] == [int(((answers == test) & (test == index)).sum()) for index in range(3)]
    for label, answer, images in classes["confused"]:
        assert images == ((test == label) & (answers == answer)).sum() > 0
    assert sum(row[2] for row in classes["confused"]) + sum(classes["right"]) == len(test)
    assert [row[2] for row in classes["confused"]] == sorted((row[2] for row in classes["confused"]), reverse=True)
    best = pool[found["best_member"]["id"]][1].argmax(1)
    assert sum(classes["best_member_right"]) == (best == test).sum()
