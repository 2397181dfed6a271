"""Inputs made easy to learn from: standardised, or decorrelated along principal axes (PCA, ZCA).

The squared error of a linear layer has the Hessian E[x xᵀ], and gradient descent takes about as
many steps as that matrix's condition number: centering lowers it, stretching lowers it further, and
decorrelating makes it 1 (LeCun et al. 1998, Efficient backprop).

The rule: what is fitted on training data is applied, unchanged, to any other.
"""

import numpy as np

from ..kernels import arrays


def _rows(name, x, features=None):
    x = np.asarray(arrays.on_host(x))
    if x.dtype.kind not in "iufb":
        raise TypeError(f"{name}: x has dtype {x.dtype}, expected numbers")
    if x.ndim != 2 or len(x) == 0 or features not in (None, x.shape[1]):
        wanted = "features" if features is None else features
        raise ValueError(f"{name}: x has shape {x.shape}, expected (N, {wanted}) with rows")
    return x


class Standardize:
    """x̂ = (x - mean)/deviation of each feature; one that never varies is only centred.

    `fit(x)` returns the object; `transform` and `inverse_transform` return float32 for float32,
    else float64.
    """

    def fit(self, x):
        """Take mean and deviation from x (N, features), in float64."""
        x = np.float64(_rows(type(self).__name__, x))
        self.mean = x.mean(0)
        self._fit_centred(x - self.mean)
        return self

    def _fit_centred(self, x):
        deviation = np.sqrt((x * x).mean(0))
        self.deviation = np.where(deviation > 0, deviation, 1.0)

    def fit_transform(self, x):
        """Fit, and transform the same rows."""
        return self.fit(x).transform(x)

    def transform(self, x):
        """Return the rows of x (N, features) made standard."""
        x, kind = self._given(x, len(self._known("mean")))
        return self._forward(x - self.mean).astype(kind)

    def inverse_transform(self, x):
        """Return the rows that `transform` makes x of."""
        x, kind = self._given(x, self._width())
        return (self._back(x) + self.mean).astype(kind)

    def _known(self, name):
        if name not in vars(self):
            raise RuntimeError(f"{type(self).__name__}: not fitted, call fit(x) first")
        return vars(self)[name]

    def _given(self, x, features):
        x = _rows(type(self).__name__, x, features)
        return np.float64(x), np.float32 if x.dtype == np.float32 else np.float64

    def _width(self):
        return len(self._known("mean"))

    def _forward(self, x):
        return x / self.deviation

    def _back(self, x):
        return x * self.deviation


class PCAWhitening(Standardize):
    """x̂ = Λ^(-1/2) Eᵀ (x - mean), EΛEᵀ the covariance: decorrelated, of variance 1.

    components: how many principal axes are kept, the largest first (None: all). eps is added to the
    variances Λ, so that what hardly varies is not blown up to noise.
    """

    def __init__(self, components=None, eps=1e-5):
        name = type(self).__name__
        if components is not None:
            arrays.check_integer(name, "components", components, 1)
        arrays.check_at_least(name, "eps", eps, 0)
        self.components, self.eps = components, float(eps)

    def _fit_centred(self, x):
        if self.components is not None and self.components > x.shape[1]:
            raise ValueError(
                f"{type(self).__name__}: components is {self.components}, expected at most "
                f"{x.shape[1]}, the features"
            )
        variances, axes = np.linalg.eigh(x.T @ x / len(x))
        order = np.argsort(variances)[::-1][: self.components]
        self.variances, self.axes = np.maximum(variances[order], 0.0), axes[:, order]
        self.deviations = np.sqrt(self.variances + self.eps)
        if not self.deviations.all():
            raise ValueError(
                f"{type(self).__name__}: the covariance of x is singular, expected eps > 0 or "
                "fewer components"
            )

    def _width(self):
        return self._known("axes").shape[1]

    def _forward(self, x):
        return x @ self.axes / self.deviations

    def _back(self, x):
        return x * self.deviations @ self.axes.T


class ZCAWhitening(PCAWhitening):
    """x̂ = E Λ^(-1/2) Eᵀ (x - mean): decorrelated, and as near to x as can be.

    Bell and Sejnowski 1997. An image stays an image: what PCA turns to its axes is turned back.
    """

    def __init__(self, eps=1e-5):
        super().__init__(None, eps)

    def _forward(self, x):
        return super()._forward(x) @ self.axes.T

    def _back(self, x):
        return super()._back(x @ self.axes)
