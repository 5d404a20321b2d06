"""The losses by the papers, in float64, for arrays of logits; needs NumPy only."""

from __future__ import annotations

import numpy as np

STEP = 1e-30  # of the complex derivative: what is multiplied by it is a derivative


def single(loss, logit, target, own, scales, gamma, second=0.0, third=0.0):
    """Losses and derivatives of single logits, right however large these are where the targets are 0 and 1.

    ``own`` says where the target is a label's own; ``scales`` are those of targets 1 and 0; ``second`` is label
    smoothing, whether the weight of the varifocal loss is a constant, beta, or the gamma of targets 1; ``third`` is the
    epsilon of Poly-1, or the margin.
    """
    foreground, background = scales
    log_p, log_q = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    p, q = np.exp(log_p), np.exp(log_q)
    log_p, log_q, p, q = log_p + STEP * 1j * q, log_q - STEP * 1j * p, p + STEP * 1j * p * q, q - STEP * 1j * p * q
    if loss == "sigmoid":
        smoothed = target * (1 - second) + second / 2
        wrong, alpha = q * target + p * (1 - target), target * foreground + (1 - target) * background
        cross_entropy = -(smoothed * log_p + (1 - smoothed) * log_q)
        value = alpha * (wrong**gamma * cross_entropy + third * wrong ** (gamma + 1))
    elif loss == "quality":
        distance = (p - target) * np.sign((p - target).real)
        alpha = target * foreground + (1 - target) * background
        value = alpha * distance**gamma * -(target * log_p + (1 - target) * log_q)
    elif loss == "asymmetric":
        alpha, m = target * foreground + (1 - target) * background, np.where(p.real > third, p - third, 0)
        negative = m**gamma * -(np.log(q + third) if third else log_q)
        value = alpha * (target * q**second * -log_p + (1 - target) * np.where(p.real > third, negative, 0))
    elif loss == "varifocal":
        weight = p.real**gamma if second else p**gamma
        value = np.where(own, -foreground * target * (target * log_p + (1 - target) * log_q),
                         -background * weight * log_q)  # fmt: skip
    else:
        off_peak = background * (1 - target) ** second
        value = np.where(target == 1, -foreground * q**gamma * log_p, -off_peak * p**gamma * log_q)
    return value.real, value.imag / STEP


def softmax(logit, share, scale, gamma, smoothing=0.0):
    """Losses [outer, inner] and derivatives of logits [outer, classes, inner], whose labels are shares of the classes.

    exp(z) is the sum of exp(x_k - x_t) over all other classes k of a class t.
    """
    classes = logit.shape[1]
    loss, gradient = np.zeros_like(logit[:, 0]), np.zeros_like(logit)
    scale = np.broadcast_to(np.reshape(scale, -1), classes)
    for t in np.flatnonzero((share != 0).any((0, 2))):
        power = np.exp(logit - logit[:, t : t + 1])
        power[:, t] = 0
        odds = power.sum(1)
        power[:, t] = -odds  # the derivatives of the sum
        factor, modulator = scale[t] * share[:, t], (odds / (1 + odds)) ** gamma
        cross_entropy = np.log1p(odds) + smoothing * (logit[:, t] - logit.mean(1))
        loss += factor * modulator * cross_entropy
        with np.errstate(all="ignore"):
            slope = np.where(odds == 0, 0, gamma * modulator / odds) / (1 + odds) * cross_entropy
        gradient += (factor * (slope + modulator / (1 + odds)))[:, None] * power
        gradient -= (factor * modulator)[:, None] * smoothing / classes
        gradient[:, t] += factor * modulator * smoothing
    return loss, gradient
