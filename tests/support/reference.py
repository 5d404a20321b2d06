"""The focal losses of whole arrays by their definitions, in NumPy's extended precision.

They share no formula with the package: probabilities are logarithms throughout, and derivatives come by the chain rule
from (1 - p_t)^gamma and -log(p_t). Beside each gradient stands the sum of its terms' magnitudes, which rounding is
relative to where terms of opposite sign meet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SMALLEST = 1e-300  # the least probability that binary_focal_loss tells from 0
#: Of p, and of its distance from a target or a margin, relative to the terms of that distance.
ROUNDINGS = {"float32": 16 * 2.0**-24, "float64": 16 * 2.0**-53}


class Reference(NamedTuple):
    loss: np.ndarray
    gradient: np.ndarray
    terms: np.ndarray
    loss_margin: np.ndarray | float = 0.0  # by how much they may be off besides
    gradient_margin: np.ndarray | float = 0.0


def logit(p) -> np.ndarray:
    """That of probabilities; what is closer than 1e-300 to 0 or 1 counts as that."""
    p = np.asarray(p, np.longdouble)
    log_q = np.where(p == 1, np.log(np.longdouble(SMALLEST)), np.log1p(-np.where(p == 1, 0, p)))
    return np.log(np.maximum(p, SMALLEST)) - log_q


def on_probabilities(x, result: Reference) -> Reference:
    """What holds for logits ``x`` with derivatives by probabilities."""
    slope = np.exp(-np.logaddexp(0, -x) - np.logaddexp(0, x))  # dp/dx = p (1 - p)
    loss, gradient, terms, loss_margin, gradient_margin = result
    return Reference(loss, gradient / slope, terms / slope, loss_margin, gradient_margin / slope)


def sigmoid(x, y, alpha_t, gamma, smoothing=0.0, epsilon=0.0) -> Reference:
    """Logits ``x``, targets ``y`` in [0, 1] and their balance, of one shape (arXiv:1708.02002, eqs. 4 and 5).

    With ``epsilon``, which must not be near -1, Poly-1 focal loss (arXiv:2204.12511).
    """
    x, y = np.asarray(x, np.longdouble), np.asarray(y, np.longdouble)
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    smoothed = y * (1 - smoothing) + smoothing / 2
    log_wrong = np.logaddexp(np.log(y) + log_q, np.log(1 - y) + log_p)
    added = epsilon * np.exp(log_wrong)
    cross_entropy = -_product(smoothed, log_p) - _product(1 - smoothed, log_q) + added
    modulator = alpha_t * np.exp(_product(gamma, log_wrong))
    p, q = np.exp(log_p), np.exp(log_q)
    by_wrong = (gamma * cross_entropy + added) * (1 - 2 * y) * np.exp(log_p + log_q - log_wrong)
    gradient = modulator * (by_wrong + (1 - smoothed) * p - smoothed * q)
    terms = np.abs(modulator) * (np.abs(by_wrong) + (1 - smoothed) * p + smoothed * q)
    return Reference(modulator * cross_entropy, gradient, terms)


def asymmetric(x, y, alpha_t, gamma_neg, gamma_pos, margin, roundings) -> Reference:
    """arXiv:2009.14119. The excess m of p over the margin is known to e, some roundings of both.

    Loss and derivative of target 0 rise with m, so that they may be any between those of m - e and of m + e.
    """
    x, y = np.asarray(x, np.longdouble), np.asarray(y, np.longdouble)
    p, q, *_ = _at(x, 0)
    loss_pos, slope_pos = _of_target_0(-x, gamma_pos)
    if margin == 0:
        loss_neg, slope_neg = _of_target_0(x, gamma_neg)
        margins = 0, 0
    else:
        m, e = np.maximum(p - margin, 0), roundings * (p + margin)

        def at(m):
            inner = np.where(m > 0, m, 0.25)
            cross_entropy = np.where(inner > 0.5, -np.log(q + margin), -np.log1p(-np.minimum(inner, 0.5)))
            loss = inner**gamma_neg * cross_entropy
            slope = p * q * inner**gamma_neg * (gamma_neg * cross_entropy / inner + 1 / (q + margin))
            return np.array([np.where(m > 0, one, np.where(np.isnan(m), m, 0)) for one in (loss, slope)])

        (loss_neg, slope_neg), lowest, highest = at(m), at(np.maximum(m - e, 0)), at(m + e)
        margins = np.abs(highest - lowest)
    return Reference(
        alpha_t * (y * loss_pos + (1 - y) * loss_neg),
        alpha_t * ((1 - y) * slope_neg - y * slope_pos),
        alpha_t * ((1 - y) * slope_neg + y * slope_pos),
        *(alpha_t * (1 - y) * one for one in margins),
    )


def quality(x, y, alpha_t, gamma, roundings) -> Reference:
    """arXiv:2006.04388, eq. 3. Where p meets y, p - y is what rounding makes of it.

    The distance |p - y| is known to e, some roundings of its terms p (1 - y) and (1 - p) y. So a power of it may be any
    between those of |p - y| - e and of |p - y| + e. Below e, the sign of p - y is open too, and with it the gradient,
    which has no bound there for gamma < 1.
    """
    p, q, cross_entropy, _ = _at(x, y)
    met, missed = p * (1 - y), q * y
    d, e = np.where(p < 0.5, p - y, (1 - y) - q), roundings * (met + missed)
    distance, low, high = np.abs(d), np.maximum(np.abs(d) - e, 0), np.abs(d) + e
    steepness = gamma * p * q * cross_entropy
    with np.errstate(divide="ignore"):
        slope = np.where(distance == 0, 0, distance ** (gamma - 1)) if gamma else 0
        spread = np.abs(high ** (gamma - 1) - low ** (gamma - 1))
    spread = np.where(low == 0, 2 * high ** (gamma - 1) if gamma >= 1 else 1e300, spread)
    return Reference(
        alpha_t * distance**gamma * cross_entropy,
        alpha_t * (distance**gamma * d + np.sign(d) * slope * steepness),
        alpha_t * (distance ** (gamma + 1) + slope * steepness),
        alpha_t * (high**gamma - low**gamma) * cross_entropy,
        alpha_t * (2 * (high ** (gamma + 1) - low ** (gamma + 1)) + spread * steepness),
    )


def varifocal(x, y, is_positive, alpha, gamma, detach_weight) -> Reference:
    """arXiv:2008.13367, eq. 2, of targets ``y`` where ``is_positive``, and of targets 0 elsewhere."""
    p, q, cross_entropy, _ = _at(x, y)
    loss, slope = _of_target_0(x, gamma, detach_weight)
    return Reference(
        np.where(is_positive, y * cross_entropy, alpha * loss),
        np.where(is_positive, y * (p * (1 - y) - q * y), alpha * slope),
        np.where(is_positive, y * (p * (1 - y) + q * y), alpha * slope),
    )


def gaussian(x, heatmap, gamma, beta) -> Reference:
    """arXiv:1808.01244, eq. 1."""
    x, is_peak = np.asarray(x, np.longdouble), heatmap == 1
    loss, slope = _of_target_0(np.where(is_peak, -x, x), gamma)
    factor = np.where(is_peak, 1, (1 - np.asarray(heatmap, np.longdouble)) ** beta)
    return Reference(loss * factor, np.where(is_peak, -slope, slope * factor), slope * factor)


def _of_target_0(x, gamma, detach_weight=False):
    """p^gamma softplus(x) and its derivative."""
    p, q, cross_entropy, log_p = _at(x, 0)
    by_modulator = 0 if detach_weight else gamma * q * cross_entropy
    power = np.exp(_product(gamma, log_p))
    return power * cross_entropy, power * (by_modulator + p)


def _at(x, y):
    """The sigmoid p of x, 1 - p, the cross entropy against y, and log(p)."""
    x, y = np.asarray(x, np.longdouble), np.asarray(y, np.longdouble)
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    return np.exp(log_p), np.exp(log_q), -_product(y, log_p) - _product(1 - y, log_q), log_p


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
