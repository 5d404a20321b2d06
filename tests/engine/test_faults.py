"""Runs that are killed, interrupted, or run into a full disk or a NaN: whole processes."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ppdet")

from processes import NAME, ROOT, assert_same_weights, command_line, read_until, start, tensors, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, digits) -> Path:
    """A run of three epochs of six iterations."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(command_line(folder, digits, "epoch=3"))
    return folder


def test_killed_twenty_times(tmp_path, digits):
    """No epoch is lost whose checkpoint was announced, and the end is that of a run which nobody disturbs."""
    options = ("epoch=40", "TrainReader.batch_size=60")  # two iterations an epoch
    command = [sys.executable, "-W", "ignore", "tests/support/killed_run.py", "20"]
    command += command_line(tmp_path / "killed", digits, *options)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    *attempts, last = map(json.loads, re.findall(r"^\{.*\}$", result.stdout, re.MULTILINE))
    assert len(attempts) == 20
    for attempt in attempts:
        assert attempt["killed"]
        names = [None, *map(str, range(39)), "model_final"]
        assert names.index(attempt["newest"]) >= attempt["announced"]
    assert last == {"killed": False, "exit": 0}
    train(command_line(tmp_path / "whole", digits, *options))
    assert_same_weights(tensors(tmp_path / "killed"), tensors(tmp_path / "whole"))


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_signal(tmp_path, digits, uninterrupted, number, workers):
    """The whole process group gets it, as on a terminal, and the run goes on in the midst of an epoch."""
    arguments = command_line(tmp_path, digits, "epoch=3", f"worker_num={workers}")
    process = start(arguments)
    read_until(process, "Epoch: [1] [2/6]")
    os.killpg(process.pid, number)
    while number == signal.SIGTERM and process.poll() is None:  # Paddle's launcher repeats it
        time.sleep(0.05)
        os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"{number.name}: stopping after this iteration" in output
    assert "Interrupted in epoch [1]. Go on with the same command and --resume auto" in output
    assert "Traceback" not in output
    (state,) = (tmp_path / NAME).glob("interrupted_*.state.json")
    iterations = json.loads(state.read_text())["iteration"]
    assert state.name == f"interrupted_1_{iterations}.state.json"
    assert 3 <= iterations < 6

    resumed = train(arguments, "--resume", "auto")
    steps = re.findall(r"Epoch: \[(\d)\] \[ ?(\d)/6\]", resumed)
    assert steps == [("1", str(i)) for i in range(iterations, 6)] + [("2", str(i)) for i in range(6)]
    assert not list((tmp_path / NAME).glob("interrupted_*"))
    records = [json.loads(line) for line in (tmp_path / NAME / "metrics.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == list(range(1, 19))
    for record in records:
        assert record["loss"] == pytest.approx(record["loss_cls"] + record["loss_reg"], rel=1e-5)
        assert record["foreground"] >= 20  # every image has objects
    assert_same_weights(tensors(tmp_path), tensors(uninterrupted))


def test_signal_to_the_launcher_of_two_ranks(tmp_path, digits):
    arguments = command_line(tmp_path, digits, "epoch=4", "use_gpu=false", "TrainReader.batch_size=10")

    def launcher(name: str) -> list[str]:
        return ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / name)]

    process = start(arguments, launcher=launcher("before"))
    read_until(process, "Epoch: [0] [2/6]")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    train(arguments, "--resume", "auto", launcher=launcher("after"))
    logs = [(tmp_path / name / "workerlog.0").read_text() for name in ("before", "after")]
    assert re.search(r"Interrupted in epoch \[\d\]. Go on with the same command and --resume auto, from ", logs[0])
    before, after = (re.findall(r"Epoch: \[(\d)\] \[ ?(\d)/6\]", log) for log in logs)
    assert before + after == [(str(epoch), str(i)) for epoch in range(4) for i in range(6)]
    assert 3 <= len(before) < 24


def test_ctrl_c_after_a_signal_ends_at_once(tmp_path, digits):
    process = start(command_line(tmp_path, digits, "TrainReader.batch_size=120"))
    read_until(process, "Epoch: [0] [0/1]")
    os.kill(process.pid, signal.SIGTERM)
    read_until(process, "SIGTERM: stopping after this iteration")
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert not list((tmp_path / NAME).glob("interrupted_*.state.json"))


def test_full_disk(tmp_path, digits, uninterrupted):
    """The second checkpoint does not fit: the first one is still whole, and nothing half is left."""
    train(command_line(tmp_path, digits, "epoch=1"))
    before = tensors(tmp_path)

    def allow_three_megabytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    output = train(
        command_line(tmp_path, digits, "epoch=3"), "--resume", "auto", code=1, preexec_fn=allow_three_megabytes
    )
    folder = tmp_path / NAME
    assert f"The checkpoint {folder}/1 could not be written: [Errno 27] File too large" in output
    assert f"The newest complete checkpoint is {folder}/model_final. Make room" in output
    assert "Traceback" not in output
    assert not [path.name for path in folder.iterdir() if "partial" in path.name or "commit" in path.name]
    assert_same_weights(tensors(tmp_path), before)
    train(command_line(tmp_path, digits, "epoch=3"), "--resume", "auto")
    assert_same_weights(tensors(tmp_path), tensors(uninterrupted))


def test_loss_that_is_no_number(tmp_path, digits):
    train(command_line(tmp_path, digits, "epoch=1"))
    options = ("epoch=2", "LearningRate.base_lr=1.0e+30", "OptimizerBuilder.clip_grad_by_norm=null")
    output = train(command_line(tmp_path, digits, *options), "--resume", str(tmp_path / NAME / "model_final"), code=1)
    assert "Traceback" not in output
    message = output[output.index("The loss is no number any more") :]
    assert re.match(r"The loss is no number any more in iteration \d of epoch 2: loss_cls (nan|inf)", message)
    images = re.findall(r"^  (.*\.(?:png|jpg))$", message, re.MULTILINE)
    assert len(images) == 20
    assert all(Path(image).exists() for image in images)
    assert f"The newest checkpoint, {tmp_path / NAME / 'model_final'}, is from before" in message
    assert np.isfinite(np.concatenate([value.ravel() for value in tensors(tmp_path).values()])).all()


def test_killed_worker(tmp_path, digits):
    process = start(command_line(tmp_path, digits, "worker_num=2", "epoch=100"))
    read_until(process, "Epoch: [1] [0/6]")
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "A worker of the data loader has ended, killed by signal: Killed." in output
    assert "Traceback" not in output
    time.sleep(0.1)
    assert not Path(f"/proc/{workers[1]}").exists()
