"""Whole processes in which something goes wrong at a random place: none waits for ever, none loses a checkpoint."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from processes import CONFIG, NAME, ROOT, SMALL, command_line, train

from paddle_focal.engine import checkpoint

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("PADDLE_FOCAL_FAULTY_RUNS", "10"))
#: The longest time from a fault to the end of all processes; workers that end without a trace are looked for every 5.
PATIENCE = 20
FAULTS = ("file", "transform", "collate", "worker", "signal")
EPOCHS = 4
IMAGES = {"train": 120, "eval": 16, "infer": 16}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, digits) -> str:
    folder = tmp_path_factory.mktemp("weights")
    train(command_line(folder, digits, "epoch=1"))
    return f"weights={folder / NAME / 'model_final'}"


def arguments_of(tool: str, folder: Path, digits: Path, weights: str, workers: int) -> list[str]:
    if tool == "train":
        return ["train", *command_line(folder, digits, f"epoch={EPOCHS}", f"worker_num={workers}", "use_gpu=false")]
    flags = ["--infer_dir", str(digits / "val"), "--output_dir", str(folder)] if tool == "infer" else []
    data = [f"{section}Dataset.dataset_dir={digits}" for section in ("Train", "Eval", "Test")]
    options = [*SMALL, *data, weights, f"save_dir={folder}", f"worker_num={workers}"]
    return [tool, "-c", str(CONFIG), *flags, "-o", *options]


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_random_fault(tmp_path, digits, weights, seed):
    chance = random.Random(seed)
    fault = FAULTS[seed % len(FAULTS)]
    # ppdet's inference reads without workers.
    tool = chance.choice(["train", "train", "eval", *(["infer"] if fault != "worker" else [])])
    workers = 2 if fault == "worker" else chance.choice([0, 2]) if tool != "infer" else 0
    ranks = chance.choice([1, 2]) if tool == "train" else 1
    count = chance.randrange(IMAGES[tool] * (EPOCHS if tool == "train" else 1) // ranks)
    note = tmp_path / "fault"
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "logs")]
    command = [sys.executable, "-W", "ignore", *(launcher if ranks == 2 else []), "tests/support/faulty_run.py"]
    command += [fault, str(count), str(note), *arguments_of(tool, tmp_path / "run", digits, weights, workers)]
    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            if fault == "signal":
                if chance.random() < 0.3:  # while it starts
                    time.sleep(chance.uniform(0.2, 2))
                    note.write_text(str(time.time()))
                patience = time.time() + 120
                while not note.exists() and process.poll() is None and time.time() < patience:
                    time.sleep(0.001)
                process.send_signal(chance.choice([signal.SIGINT, signal.SIGTERM]))
            process.wait(timeout=240)
            lasted = time.time() - float(note.read_text())
            time.sleep(1)
            left = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout
        finally:
            subprocess.run(["pkill", "-KILL", "-g", str(process.pid)], check=False)
    logs = [said, *(tmp_path / "logs").glob("workerlog.*")]
    text = "".join(log.read_text() for log in logs)
    print(f"{tool}, workers {workers}, ranks {ranks}, {fault} at {count}: {process.returncode} after {lasted:.1f} s")
    assert lasted < PATIENCE, text[-3000:]
    assert left == "", text[-3000:]
    assert process.returncode != 0, text[-3000:]
    if fault != "signal":
        assert {"file": "cannot be decoded", "worker": "A worker of the data loader"}.get(fault, "of a test") in text
        assert "Traceback" not in said.read_text() or ranks == 2, text[-3000:]
    if tool == "train":
        log = tmp_path / "run" / NAME / "train.log"
        lines = log.read_text() if log.exists() else ""
        announced = re.findall(r"Checkpoint: .*/(\d+|model_final)$", lines, re.MULTILINE)
        newest = checkpoint.newest(tmp_path / "run" / NAME)
        print(f"announced {announced}, newest {newest and newest.name}")
        assert (whole_epochs(newest.name) if newest else 0) >= len(announced)


def whole_epochs(name: str) -> int:
    if name.startswith("interrupted_"):
        return int(name.split("_")[1])
    return [*map(str, range(EPOCHS - 1)), "model_final"].index(name) + 1
