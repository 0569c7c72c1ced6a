"""What is written to be looked at: the page of a test, and runs side by side."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium
from conftest import ORIGINAL, config, run_in
from scored import binary, several
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score
from spoil import edit, nothing, refused, remove, text

from lit_hep.cli import main
from lit_hep.evaluation.compare import paired_differences, paired_hit_differences
from lit_hep.evaluation.report_threshold import threshold_counts
from lit_hep.evaluation.report_words import number, quantity

CPU = "--trainer.accelerator=cpu"


@pytest.fixture(scope="module")
def home(crater_home, tmp_path_factory):
    """Two tested runs on the same craters, and one not tested."""
    folder = tmp_path_factory.mktemp("report") / "home"
    shutil.copytree(crater_home, folder, symlinks=True)
    words = [*ORIGINAL, "--data.init_args.root=data", CPU]
    run_in(folder, "test", *words)
    run_in(folder, "fit", *words, "--trainer.max_epochs=2", "--model.init_args.optimizer.init_args.lr=0.003")
    run_in(folder, "test", *words)
    shutil.copytree(folder / "tb_logs/crater/version_1", folder / "tb_logs/crater/version_2")
    remove(folder / "tb_logs/crater/version_2/test")()
    return folder


@pytest.fixture(scope="module")
def tested(home):
    """Folder of the test of the second run."""
    return home / "tb_logs/crater/version_1/test"


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def check_page(path):
    """A page stands for itself and can be used without seeing it."""
    page = Page(path)
    assert path.stat().st_size < 3_000_000
    loaded = [element.get(name) for _, element in page.elements for name in ("src", "href", "data", "srcset")]
    assert all(link.startswith(("data:", "#")) for link in loaded if link)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", path.read_text())
    assert page.all("img") and all(len(image["alt"]) > 20 for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1 and page.all("main")
    names = [element["id"] for _, element in page.elements if "id" in element]
    assert len(names) == len(set(names))
    assert all(link["href"].removeprefix("#") in names for link in page.all("a"))
    return page


def test_page_of_a_run_holds_all_that_was_found(tested):
    page = check_page(tested / "report.html")
    metrics = json.loads((tested / "metrics.json").read_text())
    for name in metrics.keys() - {f"{kind}_{end}" for kind in ("auroc", "f1_macro") for end in ("low", "high")}:
        place = page.words.index(quantity(name))
        assert page.words[place + 1] == number(metrics[name])
    assert f"{metrics['auroc_low']:.4f} – {metrics['auroc_high']:.4f}" in page.words
    assert len(page.all("img")) == len(list((tested / "figures").glob("*.png"))) == 8
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


def test_difference_of_hits_agrees_with_a_bootstrap_of_events():
    first, label = binary(3000)
    generator = np.random.default_rng(1)
    second, event = np.clip(first + generator.normal(scale=0.3, size=3000), 0, 1), generator.integers(80, size=3000)
    first = np.clip(first + generator.normal(size=80)[event] / 3, 0, 1)  # hits of one event err alike
    called = first >= 0.5, second >= 0.4
    found = paired_hit_differences((first, second), label, event, (0.5, 0.4))
    rows = [np.flatnonzero(event == number) for number in range(80)]
    scores = {
        "hit_efficiency": lambda who, draw: called[who][draw][label[draw] == 1].mean(),
        "background_rejection": lambda who, draw: 1 - called[who][draw][label[draw] == 0].mean(),
        "f1_macro": lambda who, draw: f1_score(label[draw], called[who][draw], average="macro"),
    }
    draws = [np.concatenate([rows[number] for number in draw]) for draw in generator.integers(80, size=(500, 80))]
    assert found.keys() == scores.keys()
    for name, score in scores.items():
        low, high = np.quantile([score(1, draw) - score(0, draw) for draw in draws], [0.16, 0.84])
        assert found[name].value == pytest.approx(score(1, np.arange(3000)) - score(0, np.arange(3000)))
        assert found[name][1:] == pytest.approx((low, high), abs=0.15 * (high - low))


def test_same_scores_do_not_differ():
    probability, label = binary(300)
    for difference in paired_differences((probability, probability), label).values():
        assert difference == (0, 0, 0)


RUN = Path("tb_logs/crater/version_1")


def foreign():
    """A folder of something else."""
    text(Path("tb_logs/foreign/notes.txt"), "nothing of lit_hep")()


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (nothing, "crater/7", r"crater/7: no such run; tb_logs holds crater/0, crater/1, crater/2"),
        (nothing, "kraters", r"kraters: no such run"),
        (remove("tb_logs"), "crater", r"tb_logs holds no runs; run fit and test first"),
        (nothing, "crater/2", r"version_2: the run was not tested; type: python -m lit_hep test --config .*version_2/"),
        (remove(RUN / "test"), f"{RUN} crater/0", r"version_1: the run was not tested; type: .*best.ckpt"),
        (foreign, "tb_logs/foreign", r"tb_logs/foreign: is not the folder of a run"),
        (foreign, "foreign crater/0", r"tb_logs/foreign: is not the folder of a run"),
        (remove(RUN / "test/metrics.json"), "crater/1", r"the run was not tested"),
        (text(RUN / "test/metrics.json", '{"auroc": 0.9'), "crater/1", r"metrics.json: damaged .*test the run again"),
        (text(RUN / "test/metrics.json", "[1, 2]"), "crater/1", r"metrics.json: is not what test writes"),
        (text(RUN / "test/metrics.json", '{"auroc": "good"}'), "crater/1", r"metrics.json: is not a table of numbers"),
        (text(RUN / "test/summary.json", '{"task": "ElectronPhoton"}'), "crater/0 crater/1", r"give runs of one task"),
        (text(RUN / "test/summary.json", "{"), "crater/1", r"summary.json: damaged .*test the run again"),
        (remove(RUN / "test/predictions.npz"), "crater/1", r"predictions.npz: damaged or absent .*test the run again"),
        (edit(RUN / "test/predictions.npz", lambda b: b[:100]), "crater/1", r"predictions.npz: damaged or absent"),
        (text(RUN / "config.yaml", "a: [1"), "crater/1", r"config.yaml: damaged"),
        (text(RUN / "metrics.csv", "epoch,val_loss\none,2\n"), "crater/1", r"metrics.csv: damaged"),
        (nothing, "crater/0 --output data/Xtrain1.npy", r"Xtrain1.npy.* cannot be written"),
        (nothing, "", r"runs"),
        (nothing, "crater/0 --ouput x", r"--ouput"),
    ],
)
def test_what_is_no_tested_run_is_refused(spoil, words, message, here, capfd):
    spoil()
    refused(f"report {words}", message, here, capfd)


def test_pickled_predictions_are_not_loaded(here, capfd):
    np.savez(RUN / "test/predictions.npz", id=np.array([{}], dtype=object), probability=[0.5], label=[1])
    refused("report crater/1", r"predictions.npz: damaged or absent \(Object arrays cannot be loaded", here, capfd)


def test_old_run_without_summary_is_shown_as_far_as_it_goes(here, capsys):
    remove(RUN / "test/summary.json", RUN / "test/report.html", RUN / "metrics.csv")()
    main(["report", "crater/1"])
    page = check_page(RUN / "test/report.html")
    assert "called class 1" in page.words


@pytest.mark.parametrize("task", ["electron_photon", "drift_chamber", "ccd", "multiplane_early"])
def test_every_task_writes_its_page(task, placed, capsys):
    placed(task.removesuffix("_early"))
    words = [*config(task), CPU]
    main(["fit", *words, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"])
    main(["test", *words])
    test = Path(f"tb_logs/{task}/version_0/test")
    page = check_page(test / "report.html")
    assert len(page.all("img")) == len(list((test / "figures").glob("*.png")))
    scored = task != "ccd"
    assert bool(page.all("input")) == scored

    shutil.copytree(test.parent, test.parent.with_name("version_1"))
    capsys.readouterr()
    main(["report", task])
    assert ("+0.0000 (+0.0000 – +0.0000)" in capsys.readouterr().out) == scored
    check_page(Path("tb_logs/report/report.html"))
