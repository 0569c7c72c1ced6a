"""Start-up, run folders, TensorBoard."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from conftest import ORIGINAL

import lit_hep
from lit_hep.cli import main

COMMANDS = ["fit", "validate", "test", "predict", "show", "simulate", "prepare", "report", "export"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_public_names_come_when_asked_for():
    assert python("import sys, lit_hep; print(*{'torch', 'numpy', 'lightning'} & set(sys.modules))") == []
    assert set(dir(lit_hep)) >= {"CraterDataModule", "CraterSemiSup", "PseudoLabel"}
    assert all(isinstance(getattr(lit_hep, name), type) for name in dir(lit_hep))
    with pytest.raises(AttributeError, match="Nope"):
        _ = lit_hep.Nope


def test_help_imports_no_more_than_it_needs():
    code = "import sys\nfrom lit_hep.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    late = "{'sklearn', 'h5py', 'imgaug', 'lit_hep.evaluation.figures', 'lit_hep.tasks.crater.module'}"
    words = python(code + f"print('LATE', *{late} & set(sys.modules))")
    assert words[words.index("LATE") :] == ["LATE"]
    assert set(COMMANDS) <= set(" ".join(words).replace(",", " ").split())


def test_an_unknown_command_is_told_all_there_are(capfd):
    with pytest.raises(SystemExit) as end:
        main(["nope"])
    words = capfd.readouterr().err
    assert end.value.code == 2
    assert all(name in words for name in COMMANDS)


CLAIM = "from lit_hep.training.run import RunLogger\nprint(RunLogger('task').version)"


def test_runs_that_start_together_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/task/version_4").mkdir(parents=True)  # of a run whose logs were deleted
    with ThreadPoolExecutor(6) as pool:
        claimed = [words[0] for words in pool.map(python, [CLAIM] * 6)]
    assert sorted(claimed, key=int) == ["5", "6", "7", "8", "9", "10"]


@pytest.fixture
def tensorboard(crater_root):
    main(["fit", *ORIGINAL, "--trainer.max_epochs", "2"])
    main(["test", *ORIGINAL])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        "tb_logs",
        "--port",
        str(port),
        "--load_fast",
        "false",
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path, body=None):
        headers = {"Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{port}/data/plugin/{path}", body and json.dumps(body).encode(), headers)
        for _ in range(60):
            try:
                answer = json.load(urlopen(request, timeout=10))
            except OSError:
                answer = None
            if answer:
                return answer
            time.sleep(1)
        raise AssertionError(f"TensorBoard does not answer {path}")

    yield ask
    server.kill()
    server.wait()


def test_tensorboard_shows_scalars_figures_and_hyperparameters(tensorboard):
    scalars = tensorboard("scalars/tags")["crater/version_0"]
    assert {"train_loss", "val_loss", "val_auroc", "val_f1_macro", "lr-Adam", "stage"} <= set(scalars)
    points = tensorboard("scalars/scalars?run=crater/version_0&tag=val_loss")
    assert len(points) == 2
    figures = set(tensorboard("images/tags")["crater/version_0"])
    assert {"val/roc", "val/confusion_matrix", "val/learning_curves", "test/roc", "test/mistakes"} <= figures
    names = {entry["name"] for entry in tensorboard("hparams/experiment", {"experimentName": ""})["hparamInfos"]}
    assert {"net", "batch_size", "optimizer/class_path", "label_fraction"} <= names
