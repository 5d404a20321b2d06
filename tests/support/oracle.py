"""The oracle: focal losses by their definitions in 60 digits, their gradients by numerical differentiation.

Written from the papers, element by element, in mpmath. It shares no formula with the package: no stable form, no
closed-form gradient.
"""

from __future__ import annotations

import mpmath
import numpy as np

DIGITS = 60


def element(x, y, alpha=0.25, gamma=2.0, smoothing=0.0):
    """Loss of one logit ``x`` with target ``y`` in [0, 1]; ``alpha`` None is no balance."""
    x, y, gamma = mpmath.mpf(x), mpmath.mpf(y), mpmath.mpf(gamma)
    p, q = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
    wrong = q * y + p * (1 - y)
    target = y * (1 - mpmath.mpf(smoothing)) + mpmath.mpf(smoothing) / 2
    cross_entropy = -(target * mpmath.log(p) + (1 - target) * mpmath.log(q))
    alpha_t = 1 if alpha is None else mpmath.mpf(alpha) * y + (1 - mpmath.mpf(alpha)) * (1 - y)
    return alpha_t * wrong**gamma * cross_entropy


def loss_and_gradient(logit, target, alpha=0.25, gamma=2.0, smoothing=0.0, element=element):
    """Loss and derivative of every element, as float64 arrays of the shape of ``logit``.

    Args:
        logit: array.
        target: array of the same shape, or a number.
        alpha: None, a number, or an array that broadcasts to ``logit``.
        gamma: focusing parameter.
        smoothing: label smoothing.
        element: the definition.
    """
    logit = np.asarray(logit, np.float64)
    target = np.broadcast_to(np.asarray(target, np.float64), logit.shape)
    alphas = np.broadcast_to(np.asarray(np.nan if alpha is None else alpha, np.float64), logit.shape)
    loss, gradient = np.empty(logit.shape), np.empty(logit.shape)
    with mpmath.workdps(DIGITS):
        for i in np.ndindex(logit.shape):
            a = None if alpha is None else float(alphas[i])

            def value(x, y=float(target[i]), a=a):
                return element(x, y, a, gamma, smoothing)

            loss[i] = float(value(float(logit[i])))
            gradient[i] = float(mpmath.diff(value, float(logit[i])))
    return loss, gradient


def binary_element(p, y, alpha=0.25, gamma=2.0, smoothing=0.0):
    """Loss of one probability ``p`` with target ``y`` in [0, 1]; ``alpha`` None is no balance."""
    p, y, gamma, smoothing = mpmath.mpf(p), mpmath.mpf(y), mpmath.mpf(gamma), mpmath.mpf(smoothing)
    wrong = (1 - p) * y + p * (1 - y)
    target = y * (1 - smoothing) + smoothing / 2
    cross_entropy = -(target * mpmath.log(p) + (1 - target) * mpmath.log(1 - p))
    alpha_t = 1 if alpha is None else mpmath.mpf(alpha) * y + (1 - mpmath.mpf(alpha)) * (1 - y)
    return alpha_t * wrong**gamma * cross_entropy


def binary_loss_and_gradient(prob, target, alpha=0.25, gamma=2.0, smoothing=0.0):
    """As :func:`loss_and_gradient`, of probabilities."""
    return loss_and_gradient(prob, target, alpha, gamma, smoothing, binary_element)


def _both(x):
    """The probabilities of yes and no."""
    return 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))


def quality_element(x, y, alpha=None, gamma=2.0):
    """Quality focal loss (arXiv:2006.04388, eq. 3), times the balance of TOOD and PP-YOLOE."""
    x, y = mpmath.mpf(x), mpmath.mpf(y)
    p, q = _both(x)
    alpha_t = 1 if alpha is None else mpmath.mpf(alpha) * y + (1 - mpmath.mpf(alpha)) * (1 - y)
    cross_entropy = -(y * mpmath.log(p) + (1 - y) * mpmath.log(q))
    # Where y is 0 or 1, no digits are lost in the difference.
    distance = p if y == 0 else q if y == 1 else abs(y - p)
    return alpha_t * distance ** mpmath.mpf(gamma) * cross_entropy


def varifocal_element(x, y, alpha=0.75, gamma=2.0, is_own=None, weight_at=None):
    """Varifocal loss (arXiv:2008.13367, eq. 2) of a score, or of target 0; its weight may be that of another logit."""
    x, y = mpmath.mpf(x), mpmath.mpf(y)
    p, q = _both(x)
    if y > 0 if is_own is None else is_own:
        return -y * (y * mpmath.log(p) + (1 - y) * mpmath.log(q))
    weight = _both(x if weight_at is None else mpmath.mpf(weight_at))[0] ** mpmath.mpf(gamma)
    return -(1 if alpha is None else mpmath.mpf(alpha)) * weight * mpmath.log(q)


def poly1_element(x, y, alpha=0.25, gamma=2.0, smoothing=0.0, epsilon=1.0):
    """Poly-1 focal loss (arXiv:2204.12511), times the balance of the focal loss."""
    x, y, gamma = mpmath.mpf(x), mpmath.mpf(y), mpmath.mpf(gamma)
    p, q = _both(x)
    alpha_t = 1 if alpha is None else mpmath.mpf(alpha) * y + (1 - mpmath.mpf(alpha)) * (1 - y)
    added = alpha_t * mpmath.mpf(epsilon) * (q * y + p * (1 - y)) ** (gamma + 1)
    return element(x, y, alpha, gamma, smoothing) + added


def asymmetric_element(x, y, alpha=None, gamma_neg=4.0, gamma_pos=1.0, margin=0.05):
    """Asymmetric loss (arXiv:2009.14119), times the balance of the focal loss."""
    x, y, margin = mpmath.mpf(x), mpmath.mpf(y), mpmath.mpf(margin)
    p, q = _both(x)
    positive, negative = -(q ** mpmath.mpf(gamma_pos)) * mpmath.log(p), mpmath.mpf(0)
    if p > margin:
        negative = -((p - margin) ** mpmath.mpf(gamma_neg)) * mpmath.log(q + margin)
    alpha_t = 1 if alpha is None else mpmath.mpf(alpha) * y + (1 - mpmath.mpf(alpha)) * (1 - y)
    return alpha_t * (y * positive + (1 - y) * negative)


def gaussian_element(x, y, gamma=2.0, beta=4.0):
    """Focal loss of a heatmap (arXiv:1808.01244, eq. 1)."""
    x, y = mpmath.mpf(x), mpmath.mpf(y)
    p, q = _both(x)
    if y == 1:
        return -(q ** mpmath.mpf(gamma)) * mpmath.log(p)
    return -((1 - y) ** mpmath.mpf(beta)) * p ** mpmath.mpf(gamma) * mpmath.log(q)


def values_and_slopes(function, logit, *others):
    """Values and numerical derivatives of ``function(x, *others)``, element by element; ``others`` broadcast."""
    logit, *others = np.broadcast_arrays(np.asarray(logit, np.float64), *others)
    values, slopes = np.empty(logit.shape), np.empty(logit.shape)
    with mpmath.workdps(DIGITS):
        for i in np.ndindex(logit.shape):
            arguments = [np.asarray(other).tolist() if (other := one[i]) is not None else None for one in others]
            values[i] = float(function(float(logit[i]), *arguments))
            slopes[i] = float(mpmath.diff(lambda x, arguments=arguments: function(x, *arguments), float(logit[i])))
    return values, slopes


def softmax_row(x, shares, gamma, alpha, smoothing):
    """The softmax focal loss of one label from the definition: softmax, power and logarithm."""
    exponentials = [mpmath.exp(one) for one in x]
    total = mpmath.fsum(exponentials)
    p = [one / total for one in exponentials]
    wrong = [mpmath.fsum(exponentials[:k] + exponentials[k + 1 :]) / total for k in range(len(x))]
    logs = [mpmath.log(one) for one in p]
    even = mpmath.fsum(logs) / len(x)
    return -mpmath.fsum(
        y * a * w**gamma * ((1 - smoothing) * log + smoothing * even)
        for y, a, w, log in zip(shares, alpha, wrong, logs)
        if y
    )


def softmax_loss_and_gradient(logit, label, gamma=2.0, alpha=None, smoothing=0.0, digits=DIGITS):
    """Losses ``[N]`` and gradients ``[N, C]`` of logits ``[N, C]``; label ``[N]`` indices or ``[N, C]`` shares."""
    logit = np.asarray(logit, np.float64)
    count, classes = logit.shape
    shares = np.eye(classes)[label] if np.ndim(label) == 1 else np.asarray(label, np.float64)
    alpha = [mpmath.mpf(1)] * classes if alpha is None else [mpmath.mpf(float(a)) for a in alpha]
    losses, gradients = np.zeros(count), np.zeros(logit.shape)
    with mpmath.workdps(digits):
        settings = (mpmath.mpf(gamma), alpha, mpmath.mpf(smoothing))
        for n in range(count):
            x = [mpmath.mpf(value) for value in logit[n].tolist()]
            y = [mpmath.mpf(value) for value in shares[n].tolist()]
            losses[n] = float(softmax_row(x, y, *settings))
            for k in range(classes):
                step = mpmath.mpf(10) ** -(digits // 3)
                above, below = ([*x[:k], x[k] + sign * step, *x[k + 1 :]] for sign in (1, -1))
                slope = (softmax_row(above, y, *settings) - softmax_row(below, y, *settings)) / (2 * step)
                gradients[n, k] = float(slope)
    return losses, gradients


def one_hot(index, classes, axis=-1, ignore_index=-1):
    """Dense targets of class indices (``classes`` is background), and the mask of the elements that count."""
    index = np.asarray(index)
    dense = np.stack([index == c for c in range(classes)], axis=axis).astype(np.float64)
    kept = np.stack([index != ignore_index] * classes, axis=axis)
    return dense, kept
