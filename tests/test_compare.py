"""Runs side by side: tables, and differences with their intervals against direct bootstraps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import check_page
from scored import binary, several
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from lit_hep.cli import main
from lit_hep.evaluation import denoising, report_files
from lit_hep.evaluation.compare import differences, paired_differences
from lit_hep.evaluation.denoising import Hits
from lit_hep.evaluation.report_words import number


@pytest.fixture(scope="module")
def home(tested_home):
    return tested_home


def test_runs_side_by_side(here, capsys):
    main(["report", "crater/0", "tb_logs/crater/version_1/", "--output=out"])
    printed = capsys.readouterr().out
    words = Path("out/report.md").read_text()
    assert printed.split("Comparison:")[0].strip() in words
    page = check_page(Path("out/report.html"))
    assert Path("out/curves.png").stat().st_size > 10_000

    def row(name):
        return next(re.split(r" *\| *", line)[2:-1] for line in words.splitlines() if line.startswith(f"| {name} "))

    scores = [np.load(f"tb_logs/crater/version_{run}/test/predictions.npz") for run in (0, 1)]
    metrics = [json.loads(Path(f"tb_logs/crater/version_{run}/test/metrics.json").read_text()) for run in (0, 1)]
    auroc = [f"{number(one['auroc'])} ({number(one['auroc_low'])} – {number(one['auroc_high'])})" for one in metrics]
    assert row("area under the ROC curve") == auroc
    assert row("epochs") == ["1", "2"] and row("trainer.max_epochs") == ["1", "2"]
    assert row("model.optimizer.lr") == ["0.0003", "0.003"]
    assert "data.root" not in words and "trainer.logger" not in words
    assert words.count("area under the ROC curve") == 2, "once more in the differences"
    label = scores[0]["label"]
    difference = paired_differences(
        (scores[0]["probability"], scores[1]["probability"]), label, (metrics[0]["threshold"], metrics[1]["threshold"])
    )
    value = roc_auc_score(label, scores[1]["probability"]) - roc_auc_score(label, scores[0]["probability"])
    assert difference["auroc"].value == pytest.approx(value)
    assert f"{value:+.4f}".replace("-", "−") in " ".join(page.words)


def test_task_stands_for_its_tested_runs_and_one_run_has_its_page_renewed(here, capsys):
    main(["report", "crater"])
    printed = capsys.readouterr()
    assert "crater/1" in printed.out and "version_2 not tested" in printed.err
    assert Path("tb_logs/report/report.html").is_file()
    page = Path("tb_logs/crater/version_0/test/report.html")
    before = page.read_text()
    page.unlink()
    main(["report", "crater/0"])
    assert page.read_text() == before


def test_other_samples_are_not_paired(here, capsys):
    path = Path("tb_logs/crater/version_1/test/predictions.npz")
    scores = dict(np.load(path))
    np.savez(path, **{**scores, "id": scores["id"] + 1})
    main(["report", "crater/0", "crater/1"])
    assert "other samples" in capsys.readouterr().out
    order = np.random.default_rng(0).permutation(len(scores["id"]))
    np.savez(path, **{name: column[order] for name, column in scores.items()})
    main(["report", "crater/0", "crater/1"])
    assert "other samples" not in capsys.readouterr().out


@pytest.mark.parametrize("classes", [2, 4])
def test_difference_agrees_with_a_direct_bootstrap(classes):
    if classes == 2:
        first, label = binary(400, digits=2)
        second = np.clip(0.7 * first + 0.3 * np.random.default_rng(1).random(400), 0, 1)
        cuts = 0.4, 0.6
        called = first >= cuts[0], second >= cuts[1]
    else:
        first, label = several(400)
        second = 0.5 * first + 0.5 * several(400, seed=3)[0]
        cuts = 0.5, 0.5
        called = first.argmax(1), second.argmax(1)
    found = paired_differences((first, second), label, cuts)
    scores = {"f1_macro": lambda who, draw: f1_score(label[draw], called[who][draw], average="macro")}
    if classes == 2:
        scores["auroc"] = lambda who, draw: roc_auc_score(label[draw], (first, second)[who][draw])
    else:
        scores["accuracy"] = lambda who, draw: accuracy_score(label[draw], called[who][draw])
    assert found.keys() == scores.keys()
    generator = np.random.default_rng(5)
    draws = generator.integers(len(label), size=(500, len(label)))
    everything = np.arange(len(label))
    for name, score in scores.items():
        drawn = [score(1, draw) - score(0, draw) for draw in draws]
        low, high = np.quantile(drawn, [0.16, 0.84])
        assert found[name].value == pytest.approx(score(1, everything) - score(0, everything))
        assert found[name][1:] == pytest.approx((low, high), abs=0.15 * (high - low))
        alone = np.quantile([score(1, draw) for draw in draws], [0.16, 0.84])
        assert name != "auroc" or high - low < alone[1] - alone[0], "pairing tells more"


def run_of(folder, metrics, **columns):
    """A tested run, as far as differences need it."""
    (folder / "test").mkdir(parents=True)
    np.savez(folder / "test/predictions.npz", **columns)
    return report_files.TestedRun(folder, metrics, {}, "", {})


def check(found, direct, draws):
    """Differences against those of samples drawn directly: `direct` of a run's number and a draw are its metrics."""
    everything = np.arange(draws.shape[1])
    value = [direct(run, everything) for run in (0, 1)]
    drawn = [[direct(run, draw) for run in (0, 1)] for draw in draws]
    for name, difference in found.items():
        low, high = np.nanquantile([two[name] - one[name] for one, two in drawn], [0.16, 0.84])
        assert difference.value == pytest.approx(value[1][name] - value[0][name])
        assert difference[1:] == pytest.approx((low, high), abs=0.25 * (high - low)), name
        alone = np.nanquantile([two[name] for _, two in drawn], [0.16, 0.84])
        assert high - low < alone[1] - alone[0], f"{name}: pairing tells more"


def test_difference_of_hits_agrees_with_a_bootstrap_of_events(tmp_path):
    generator = np.random.default_rng(1)
    truth = generator.random((80, 36, 112)) < 0.01
    hit = truth | (generator.random(truth.shape) < 0.02)
    hardness = generator.normal(size=(80, 1, 1))  # hits of one event err alike
    first = np.where(hit, 1 / (1 + np.exp(-(3 * truth - 1.5 + hardness + generator.normal(size=truth.shape)))), 0)
    second = np.where(hit, np.clip(first + generator.normal(scale=0.05, size=truth.shape), 0.001, 1), 0)
    scores, order = [first, second], generator.permutation(80)
    runs = [
        run_of(tmp_path / "0", {"threshold": 0.5}, id=np.arange(80), score=first, truth=truth, keep=first > 0.5),
        run_of(tmp_path / "1", {"threshold": 0.4}, id=order, score=second[order], truth=truth[order]),
    ]

    def direct(run, draw):
        event, layer, wire = np.nonzero(hit[draw])
        hits = Hits(event, layer, wire, scores[run][draw][hit[draw]], truth[draw][hit[draw]], len(draw))
        return denoising.metrics(hits, (0.5, 0.4)[run])

    found = differences(*runs)
    chosen = ("hit_efficiency", "background_rejection", "purity", "efficiency_at_rejection_90", "pixel_difference")
    check({name: found[name] for name in chosen}, direct, generator.integers(80, size=(200, 80)))
    other = run_of(tmp_path / "2", {"threshold": 0.5}, id=np.arange(80), score=first, truth=truth & (first > 0.1))
    assert differences(runs[0], other) is None


def test_difference_of_segmented_images_agrees_with_a_bootstrap_of_images(tmp_path):
    generator = np.random.default_rng(2)
    names, truth = ("background", "cluster"), generator.integers(50, 200, size=(70, 2))
    right = generator.beta(4, 2, size=(70, 2))  # images that are hard for one run are so for the other
    counts, clusters = [], []
    for better in (0, 0.05):
        kept = generator.binomial(truth, np.clip(right + better, 0, 1))
        counts.append(np.stack([[kept[:, 0], truth[:, 0] - kept[:, 0]], [truth[:, 1] - kept[:, 1], kept[:, 1]]]))
        true = truth[:, 1]
        seen = generator.binomial(true, np.clip(right[:, 1] + better, 0, 1))
        found = seen + generator.binomial(80, 1 - right[:, 0])
        clusters.append(np.stack([true, seen, found, seen, np.ones(70, int)], axis=1))
    counts = [np.moveaxis(table, 2, 0) for table in counts]
    metrics = {f"support_{name}": 1.0 for name in names}
    identity, order = np.array([f"image_{number:02}" for number in range(70)]), generator.permutation(70)
    runs = [
        run_of(tmp_path / "0", metrics, id=identity, confusion=counts[0], clusters=clusters[0]),
        run_of(tmp_path / "1", metrics, id=identity[order], confusion=counts[1][order], clusters=clusters[1][order]),
    ]

    def direct(run, draw):
        (tn, fp), (fn, tp) = counts[run][draw].sum(0)
        true, seen, found, right, _ = clusters[run][draw].sum(0)
        f1 = {"f1_background": 2 * tn / (2 * tn + fp + fn), "f1_cluster": 2 * tp / (2 * tp + fp + fn)}
        rates = {"cluster_efficiency": seen / true, "cluster_purity": right / found}
        return {"f1_macro": np.mean([*f1.values()]), "false_clusters_per_image": (found - right) / 70, **f1, **rates}

    found = differences(*runs)
    assert found.keys() == direct(0, np.arange(70)).keys()
    check(found, direct, generator.integers(70, size=(500, 70)))
    other = run_of(tmp_path / "2", metrics, id=identity, confusion=counts[0] + 1, clusters=clusters[0])
    assert differences(runs[0], other) is None


def test_same_scores_do_not_differ():
    probability, label = binary(300)
    for difference in paired_differences((probability, probability), label).values():
        assert difference == (0, 0, 0)
