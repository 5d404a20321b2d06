"""What focal loss does to a trained RetinaNet on its data (Lin et al., arXiv:1708.02002, figure 4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from paddle_focal.analysis.loss_distribution import HARDEST, LossHistogram
from paddle_focal.data.class_balance import class_alpha
from paddle_focal.detection.abilities import has_losses_of_anchors
from paddle_focal.detection.assigners.anchor_targets import assign
from paddle_focal.detection.assigners.max_iou import assigner_for
from paddle_focal.detection.heads.anchors import Anchors
from paddle_focal.losses import sigmoid_focal_loss

#: The gammas that are compared. The model's own gamma is added if it is not among them.
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

_IGNORED = -1


class LossAnalysis:
    """Runs a RetinaNet over annotated images and records how its classification loss is distributed.

    A sample is an anchor, as in the paper. Its loss is the sum over the C sigmoid classifiers, with the model's alpha
    and without its ``loss_weight`` and ``label_smoothing``. Anchors that training ignores are left out. The other
    gammas are applied to the trained model's logits: no model is trained with them. The losses go into one
    :class:`LossHistogram` for each gamma and kind of anchor, so that memory does not grow with the number of anchors;
    three numbers are kept for each image.

    Args:
        model: RetinaNet in evaluation mode, with a RetinaHead or FocalRetinaHead whose ``loss_class`` has ``alpha``
            and ``gamma``.

    Attributes:
        alpha, gamma: the model's.
        foreground, background: the losses of these anchors, by gamma.
        ignored: the number of anchors left out.
        objects, foreground_anchors: int64 ``[C]``, the number for each class.
        images: ``image_id``, ``loss_cls``, ``loss_reg`` and ``loss`` of each image, as in a training step on this
            image alone.

    Raises:
        ValueError: the model has another head, or none.
    """

    def __init__(self, model: nn.Layer) -> None:
        head = getattr(model, "head", None)
        if not has_losses_of_anchors(head):
            what = type(model).__name__ + (f" with {type(head).__name__}" if head is not None else "")
            raise ValueError(
                "only a RetinaNet can be analyzed, with the head RetinaHead or FocalRetinaHead; "
                f"the architecture of this configuration is {what}"
            )
        self._model = model
        self._head = head
        self._anchors = Anchors(head.anchor_generator)
        self._assigner = assigner_for(head.bbox_assigner)
        self.alpha, self.gamma = head.loss_class.alpha, head.loss_class.gamma
        gammas = sorted({*GAMMAS, self.gamma})
        self.foreground = {gamma: LossHistogram() for gamma in gammas}
        self.background = {gamma: LossHistogram() for gamma in gammas}
        self.ignored = 0
        self.objects = np.zeros(head.num_classes, np.int64)
        self.foreground_anchors = np.zeros(head.num_classes, np.int64)
        self.images: list[dict] = []

    @paddle.no_grad()
    def add(self, batch: Mapping) -> None:
        """Add one image.

        Args:
            batch: one image, as ppdet's loader gives it: ``image`` ``[1, 3, H, W]``, ``im_id`` ``[1, 1]``,
                ``gt_bbox`` and ``gt_class`` with one tensor each, ``[G, 4]`` and ``[G, 1]``.
        """
        classes = self._head.num_classes
        outputs = self._head(self._model.neck(self._model.backbone(batch)))
        grid = self._anchors(outputs[0])
        target = assign(self._assigner, grid.boxes, batch["gt_bbox"], batch["gt_class"], classes, _IGNORED)
        labels = grid.split(target.label)
        label = np.concatenate([one.numpy().ravel() for one in labels])
        is_foreground, is_background = (label >= 0) & (label < classes), label == classes
        for gamma in self.foreground:
            losses = [
                _anchor_losses(logit, of_level, classes, self.alpha, gamma)
                for logit, of_level in zip(outputs[0], labels)
            ]
            loss = paddle.concat(losses).numpy()
            self.foreground[gamma].add(loss[is_foreground])
            self.background[gamma].add(loss[is_background])
        self.ignored += int((~is_foreground & ~is_background).sum())
        self.objects += np.bincount(batch["gt_class"][0].numpy().ravel(), minlength=classes)
        self.foreground_anchors += np.bincount(label[is_foreground], minlength=classes)
        losses = {name: float(loss) for name, loss in self._head.get_loss(outputs, batch).items()}
        self.images.append({"image_id": int(batch["im_id"]), **losses})

    def hardest_images(self) -> list[dict]:
        """All images, the one with the highest loss first."""
        return sorted(self.images, key=lambda image: -image["loss"])

    def results(self, names: Sequence[str], files: Mapping[int, str]) -> dict:
        """All numbers, as they appear in ``analysis.json``.

        Args:
            names: the names of the classes.
            files: file names of the images, by image id.

        Raises:
            ValueError: there are no foreground anchors, or no background anchors.
        """
        for kind, losses in (("foreground", self.foreground), ("background", self.background)):
            if not losses[0.0].count:
                raise ValueError(f"{len(self.images)} images with {self.objects.sum()} objects have no {kind} anchors")
        counts = dict(zip(names, self.objects.tolist()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the counts say which classes have no objects
            suggested = class_alpha(counts)
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "anchors": {
                "foreground": self.foreground[0.0].count,
                "background": self.background[0.0].count,
                "ignored": self.ignored,
            },
            "gammas": [_shares(gamma, self.foreground[gamma], self.background[gamma]) for gamma in self.foreground],
            "classes": [
                {
                    "name": name,
                    "objects": counts[name],
                    "foreground_anchors": int(anchors),
                    "suggested_alpha": suggested[name],
                }
                for name, anchors in zip(names, self.foreground_anchors)
            ],
            "images": [{"file_name": files[image["image_id"]], **image} for image in self.hardest_images()],
        }


def _anchor_losses(logit: Tensor, label: Tensor, classes: int, alpha, gamma: float) -> Tensor:
    """The losses ``[A * H * W]`` of one level: logits ``[1, A * C, H, W]``, labels ``[1, A, H * W]``."""
    locations = logit.shape[-2] * logit.shape[-1]
    loss = sigmoid_focal_loss(
        logit.reshape([-1, classes, locations]),
        label.reshape([-1, locations]),
        alpha=alpha,
        gamma=gamma,
        reduction="none",
        ignore_index=_IGNORED,
        axis=1,
    )
    return loss.sum(axis=1).flatten()


def _shares(gamma: float, foreground: LossHistogram, background: LossHistogram) -> dict:
    return {
        "gamma": gamma,
        "foreground_share": foreground.total / (foreground.total + background.total),
        "background_share": background.total / (foreground.total + background.total),
        "foreground_hardest_share": foreground.share_of_hardest(HARDEST),
        "background_hardest_share": background.share_of_hardest(HARDEST),
    }


def summary(results: Mapping) -> str:
    """The results as text for a terminal; ``results`` comes from :meth:`LossAnalysis.results`."""
    anchors, images = results["anchors"], results["images"]
    lines = [
        f"{len(images):,} images; anchors: " + ", ".join(f"{count:,} {kind}" for kind, count in anchors.items()),
        "",
        f"Classification loss with alpha {results['alpha']}: the share of each kind of anchor, and how much of that "
        f"its hardest {HARDEST:.0%} carry",
        "",
        f"{'gamma':>5} {'foreground':>12} {'its hardest':>12} {'background':>12} {'its hardest':>12}",
    ]
    lines += [
        f"{row['gamma']:5g} {row['foreground_share']:12.1%} {row['foreground_hardest_share']:12.1%} "
        f"{row['background_share']:12.1%} {row['background_hardest_share']:12.1%}"
        + ("  as trained" if row["gamma"] == results["gamma"] else "")
        for row in results["gammas"]
    ]
    width = max(len("class"), *(len(row["name"]) for row in results["classes"]))
    lines += ["", f"{'class':{width}} {'objects':>9} {'anchors':>9} {'suggested alpha':>16}"]
    lines += [
        f"{row['name']:{width}} {row['objects']:9,} {row['foreground_anchors']:9,} {row['suggested_alpha']:16.4f}"
        for row in results["classes"]
    ]
    lines += [
        "",
        "Highest loss of an image: " + ", ".join(f"{row['file_name']} {row['loss']:.2f}" for row in images[:3]),
    ]
    return "\n".join(lines)
