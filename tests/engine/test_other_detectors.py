"""The tools with detectors that are not RetinaNet: what works, and what is RetinaNet's alone."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

pytestmark = pytest.mark.slow
SETTINGS = ("TrainReader.batch_size=4", "snapshot_epoch=1", "log_iter=1", "epoch=1")
SCHEDULE = "gamma_schedule={kind: linear, gammas: [1.0, 3.0], epochs: [0, 2]}"
MODELS = {
    "ppyoloe_digits": ("width_mult=0.125", "loss_cls"),
    "picodet_digits": ("LCNet.scale=0.25", "loss_vfl"),
    "fcos_digits": ("FPN.spatial_scales=[0.125, 0.0625, 0.03125]", "loss_cls"),
}


@pytest.fixture(params=MODELS)
def runs(request, small_runs):
    """Of an epoch of three iterations."""
    small, small_runs.loss = MODELS[request.param]
    small_runs.use(request.param, *SETTINGS, small)
    return small_runs


def test_the_way_of_a_model(runs, tmp_path, capsys):
    """Checked data, an epoch with a schedule of gamma, one more of a run that goes on, predictions and an export."""
    runs.check_data()
    runs.train(SCHEDULE, flags=["--eval", "--early-stop", "2"])
    runs.resume(SCHEDULE, "epoch=2", flags=["--eval", "--early-stop", "2"])
    records = runs.records()
    losses = [record[runs.loss] for record in records if runs.loss in record]
    assert len(losses) == 6
    assert all(0 < loss < 10 for loss in losses)
    assert sum("bbox_AP" in record for record in records) == 2
    log = (runs.folder / "train.log").read_text()
    assert "Epoch 1: gamma 1 to 1.667" in log  # by a third in each of three iterations
    assert "Epoch 2: gamma 2 to 2.667" in log

    weights = f"weights={runs.folder / 'model_final'}"
    image = runs.data / "val/000001.png"
    runs.infer(weights, flags=["--infer_img", str(image), "--output_dir", str(tmp_path / "drawn")])
    assert [path.name for path in (tmp_path / "drawn").rglob("*.png")] == ["000001.png"]
    runs.export(weights, flags=["--output_dir", str(tmp_path / "exported")])
    assert len(list((tmp_path / "exported").rglob("model.pdiparams"))) == 1


def test_what_is_retinanets_alone(runs, caplog):
    def last_words(run, *options: str, **how) -> str:
        with pytest.raises(SystemExit):
            run(*options, **how)
        return caplog.messages[-1]

    said = last_words(runs.train, flags=["--eval", "--early-stop", "2", "--early-stop-metric", "val_loss"])
    assert said.startswith("--early-stop-metric val_loss needs FocalRetinaHead with is_inference_output: true; other")
    runs.train()
    said = last_words(runs.analyze, f"weights={runs.folder / 'model_final'}")
    assert said.startswith("only a RetinaNet can be analyzed, with the head RetinaHead or FocalRetinaHead; the arch")
