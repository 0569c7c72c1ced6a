"""The page of a test: what it holds, its slider, small screens, and one for every task."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium
from conftest import quick
from pages import check_page
from scored import binary
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score
from spoil import remove

from lit_hep.cli import main
from lit_hep.evaluation.report_threshold import threshold_counts
from lit_hep.evaluation.report_words import families, headline, number, quantity

CPU = "--trainer.accelerator=cpu"
RUN = Path("tb_logs/crater/version_1")


@pytest.fixture(scope="module")
def home(tested_home):
    return tested_home


def test_numbers_of_parts_are_told_apart_from_those_of_the_whole():
    numbers = dict.fromkeys(("hit_efficiency", "hit_efficiency_45_nA", "hit_purity_25_to_50_nA", "auroc_plane2"), 0.5)
    found = {kind: {part: list(names) for part, names in parts.items()} for kind, parts in families(numbers).items()}
    currents = {"45_nA": ["hit_efficiency"], "25_to_50_nA": ["hit_purity"]}
    assert found == {"beam current": currents, "plane": {"2": ["auroc"]}} and headline(numbers) == ["hit_efficiency"]


@pytest.fixture(scope="module")
def tested(home):
    """Folder of the test of the second run."""
    return home / "tb_logs/crater/version_1/test"


def test_page_of_a_run_holds_all_that_was_found(tested, home):
    page = check_page(tested / "report.html")
    metrics = json.loads((tested / "metrics.json").read_text())
    for name in metrics.keys() - {f"{kind}_{end}" for kind in ("auroc", "f1_macro") for end in ("low", "high")}:
        place = page.words.index(quantity(name))
        assert page.words[place + 1] == number(metrics[name])
    assert f"{metrics['auroc_low']:.4f} – {metrics['auroc_high']:.4f}" in page.words
    assert len(page.all("img")) == len(list((tested / "figures").glob("*.png"))) == 8
    assert not list((tested / "figures").glob("*.pdf"))
    styled = home / "tb_logs/crater/version_0/test/figures"
    assert sorted(path.stem for path in styled.glob("*.pdf")) == sorted(path.stem for path in styled.glob("*.png"))
    assert all(path.read_bytes().startswith(b"%PDF") for path in styled.glob("*.pdf"))
    summary = json.loads((tested / "summary.json").read_text())
    assert {part: sum(counts.values()) for part, counts in summary["samples"].items()} == {
        "train": 54,
        "val": 18,
        "test": 18,
        "unlabelled": 29,
    }
    assert "no crater" in page.words and f"{summary['parameters']:,}" in page.words and summary["parameters"] > 1000
    assert (tested.parent / "config.yaml").read_text() in page.words
    assert re.search(r"\d+ min \d+ s", " ".join(page.words))


def test_slider_agrees_with_the_confusion_at_every_threshold():
    for dtype, digits in ((np.float32, None), (np.float32, 2), (np.float64, None)):
        probability, label = binary(5000, digits=digits, dtype=dtype)
        chosen = float(dtype(0.4321))
        counts = threshold_counts(probability, label, chosen)
        assert len(counts["threshold"]) <= 2000 and counts["threshold"][counts["chosen"]] == pytest.approx(chosen)
        for step in range(0, len(counts["threshold"]), 50):
            called = probability >= dtype(counts["threshold"][step])
            tn, _, fn, _ = confusion_matrix(label, called, labels=[0, 1]).ravel()
            assert (counts["tn"][step], counts["fn"][step]) == (tn, fn)
        f1 = [f1_score(label, probability >= dtype(cut), average="macro") for cut in counts["threshold"][::40]]
        best = probability >= dtype(counts["threshold"][counts["best"]])
        assert f1_score(label, best, average="macro") >= max(f1)
        assert counts["fn"][0] == counts["tn"][0] == 0
        assert (counts["fn"][-1], counts["tn"][-1]) == (counts["signal"], counts["background"])


@needs_chromium
def test_slider_is_moved_by_keyboard(tested, tmp_path):
    scores = np.load(tested / "predictions.npz")
    probability, label = scores["probability"], scores["label"]
    metrics = json.loads((tested / "metrics.json").read_text())

    def shown(browser, name):
        return float(browser.value(f"document.getElementById('{name}').textContent").replace("–", "nan"))

    with Browser(tmp_path) as browser:
        browser.open(tested / "report.html")
        thresholds = browser.value("JSON.parse(document.getElementById('counts').textContent).threshold")
        browser.value("document.getElementById('threshold').focus()")
        met = set()
        for key, times in ((None, 0), ("Home", 1), ("ArrowRight", 3), ("PageUp", 4), ("ArrowLeft", 1), ("End", 1)):
            browser.press(key, times)
            step = int(browser.value("document.getElementById('threshold').value"))
            met.add(step)
            called = probability >= np.float32(thresholds[step])
            matrix = confusion_matrix(label, called, labels=[0, 1])
            cells = [
                int(browser.value(f"document.getElementById('{name}').dataset.count"))
                for name in ("tn", "fp", "fn", "tp")
            ]
            assert cells == matrix.ravel().tolist()
            assert shown(browser, "accuracy") == pytest.approx(accuracy_score(label, called), abs=6e-5)
            precision = precision_score(label, called, zero_division=np.nan)
            assert shown(browser, "precision") == pytest.approx(precision, abs=6e-5, nan_ok=True)
            recall = recall_score(label, called)
            assert shown(browser, "recall") == shown(browser, "signal_efficiency") == pytest.approx(recall, abs=6e-5)
            assert shown(browser, "f1_macro") == pytest.approx(f1_score(label, called, average="macro"), abs=6e-5)
            rejection = 1 - called[label == 0].mean()
            assert shown(browser, "background_rejection") == pytest.approx(rejection, abs=6e-5)
            words = browser.value("document.getElementById('threshold').getAttribute('aria-valuetext')")
            assert float(words.split()[0]) == pytest.approx(thresholds[step], rel=1e-4)
            if key is None:
                assert "chosen" in words and cells == [metrics[name] for name in ("tn", "fp", "fn", "tp")]
        assert len(met) >= 5
        browser.press("Tab", 2)
        browser.call("Input.dispatchKeyEvent", type="char", text="\r")
        assert "best" in browser.value("document.getElementById('threshold-value').textContent")


@needs_chromium
def test_page_fits_a_telephone(tested, tmp_path):
    with Browser(tmp_path) as browser:
        for width, scheme, paper in ((1280, "light", "rgb(255, 255, 255)"), (400, "dark", "rgb(21, 24, 28)")):
            browser.open(tested / "report.html", width, scheme=scheme)
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value("getComputedStyle(document.body).backgroundColor") == paper


def test_old_run_without_summary_is_shown_as_far_as_it_goes(here, capsys):
    remove(RUN / "test/summary.json", RUN / "test/report.html", RUN / "metrics.csv")()
    main(["report", "crater/1"])
    page = check_page(RUN / "test/report.html")
    assert "called class 1" in page.words


@pytest.mark.parametrize("task", ["electron_photon", "drift_chamber", "ccd", "multiplane_early"])
def test_every_task_writes_its_page(task, placed, capsys):
    placed(task.removesuffix("_early"))
    words = [*quick(task), CPU]
    main(["fit", *words, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"])
    main(["test", *words])
    test = Path(f"tb_logs/{task}/version_0/test")
    page = check_page(test / "report.html")
    assert len(page.all("img")) == len(list((test / "figures").glob("*.png")))
    assert bool(page.all("input")) == (task != "ccd")

    shutil.copytree(test.parent, test.parent.with_name("version_1"))
    capsys.readouterr()
    main(["report", task])
    printed = capsys.readouterr().out
    assert "+0.0000 (+0.0000 – +0.0000)" in printed and "other samples" not in printed
    check_page(Path("tb_logs/report/report.html"))
