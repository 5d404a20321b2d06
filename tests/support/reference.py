"""The focal losses of whole arrays by their definition (arXiv:1708.02002, eqs. 4 and 5), in NumPy's extended precision.

They share no formula with the package: probabilities are logarithms throughout, and derivatives come by the chain rule
from (1 - p_t)^gamma and -log(p_t). Beside each gradient stands the sum of its terms' magnitudes, which rounding is
relative to where terms of opposite sign meet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SMALLEST = 1e-300  # the least probability that binary_focal_loss tells from 0


class Reference(NamedTuple):
    loss: np.ndarray
    gradient: np.ndarray
    terms: np.ndarray


def sigmoid(x, y, alpha_t, gamma, smoothing=0.0) -> Reference:
    """Logits ``x``, targets ``y`` in [0, 1] and their balance, all of one shape."""
    x = np.asarray(x, np.longdouble)
    return _of_logarithms(-np.logaddexp(0, -x), -np.logaddexp(0, x), y, alpha_t, gamma, smoothing)


def binary(p, y, alpha_t, gamma, smoothing=0.0) -> Reference:
    """Probabilities ``p``; what is closer than 1e-300 to 0 or 1 counts as that."""
    p = np.asarray(p, np.longdouble)
    log_p = np.log(np.maximum(p, SMALLEST))
    log_q = np.where(p == 1, np.log(np.longdouble(SMALLEST)), np.log1p(-np.where(p == 1, 0, p)))
    loss, *by_logit = _of_logarithms(log_p, log_q, y, alpha_t, gamma, smoothing)
    return Reference(loss, *(one / np.exp(log_p + log_q) for one in by_logit))  # dp/dx = p (1 - p)


def _of_logarithms(log_p, log_q, y, alpha_t, gamma, smoothing) -> Reference:
    y = np.asarray(y, np.longdouble)
    smoothed = y * (1 - smoothing) + smoothing / 2
    cross_entropy = -_product(smoothed, log_p) - _product(1 - smoothed, log_q)
    log_wrong = np.logaddexp(np.log(y) + log_q, np.log(1 - y) + log_p)
    modulator = alpha_t * np.exp(_product(gamma, log_wrong))
    p, q = np.exp(log_p), np.exp(log_q)
    by_modulator = gamma * cross_entropy * (1 - 2 * y) * np.exp(log_p + log_q - log_wrong)
    gradient = modulator * (by_modulator + (1 - smoothed) * p - smoothed * q)
    terms = np.abs(modulator) * (np.abs(by_modulator) + (1 - smoothed) * p + smoothed * q)
    return Reference(modulator * cross_entropy, gradient, terms)


def softmax(x, shares, scale, gamma, smoothing=0.0) -> Reference:
    """Logits and shares ``[N, C]``, scale ``[C]``; losses ``[N]`` and gradients ``[N, C]``."""
    x, shares = np.asarray(x, np.longdouble), np.asarray(shares, np.longdouble)
    count, classes = x.shape
    x = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    loss, gradient, terms = np.zeros(count, np.longdouble), np.zeros_like(x), np.zeros_like(x)
    for t in range(classes):
        (rows,) = np.nonzero(shares[:, t])
        if not len(rows):
            continue
        log_p = x[rows] - _log_sum_exp(x[rows])
        log_wrong = _log_sum_exp(np.delete(log_p, t, axis=1))
        log_wrong[np.isnan(x[rows]).any(axis=1)] = np.nan
        wrong = np.exp(log_wrong)
        modulator = shares[rows, t, None] * scale[t] * np.exp(_product(gamma, log_wrong))
        surprise = -log_p
        surprise[:, [t]] = np.where(wrong < 0.5, -np.log1p(-np.minimum(wrong, 0.5)), surprise[:, [t]])
        cross_entropy = (1 - smoothing) * surprise[:, [t]] + _product(smoothing, surprise.mean(axis=1, keepdims=True))
        by_modulator = gamma * cross_entropy * np.exp(log_p[:, [t]])  # times what 1 - p_t loses to each class
        lost_to = np.where(wrong == 0, 0, np.exp(log_p - log_wrong))
        lost_to[:, t] = -1
        by_entropy = np.exp(log_p)
        by_entropy[:, [t]] = -wrong
        even = np.full(classes, -smoothing / classes, np.longdouble)
        even[t] += smoothing
        loss[rows] += (modulator * cross_entropy)[:, 0]
        gradient[rows] += modulator * (by_modulator * lost_to + by_entropy + even)
        terms[rows] += np.abs(modulator) * (by_modulator * np.abs(lost_to) + np.abs(by_entropy) + np.abs(even))
    return Reference(loss, gradient, terms)


def _product(factor, logarithm):
    """The product, in which 0 times the infinite logarithm of 0 is 0: a power of 0, a term without weight."""
    return np.where((np.asarray(factor) == 0) & np.isinf(logarithm), 0, factor * logarithm)


def _log_sum_exp(x):
    highest = x.max(axis=1, keepdims=True, initial=-np.inf)
    anchor = np.where(np.isneginf(highest), 0, highest)
    return np.log(np.exp(x - anchor).sum(axis=1, keepdims=True)) + anchor
