"""A net's training steps in NumPy: the reference of whole steps in float64, a peer in float32."""

import numpy as np

BETA1, BETA2, SMALL = 0.9, 0.999, 1e-8
EPS = 1e-5  # of batch normalization


class NumpyNet:
    """The net of `steps.Net`, trained on the same batches from the same weights."""

    def __init__(self, net, dtype):
        self.net, self.dtype = net, np.dtype(dtype).type
        x, self.labels, self.order = net.data()
        self.x = x.astype(dtype)
        self.parameters = []
        for number, (weight, bias) in enumerate(net.weights()):
            layer = [weight.astype(dtype), bias.astype(dtype)]
            if net.batchnorm and number < len(net.sizes) - 2:
                layer += [np.ones_like(layer[1]), np.zeros_like(layer[1])]
            self.parameters.append(layer)
        self.moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in q] for q in self.parameters]
        self.steps, self.loss = 0, 0.0

    def run(self, times):
        """Take so many steps."""
        for _ in range(times):
            rows = self.order[self.steps % len(self.order)]
            self.steps += 1
            self._update(self._gradients(self.x[rows], self.labels[rows]))

    def forward(self, x):
        """Return the logits, and what backward needs of each layer."""
        kept, tanh = [], self.net.activation == "tanh"
        for number, layer in enumerate(self.parameters):
            weight, bias, *norm = layer
            given, x = x, x @ weight.T + bias
            scale, hat = None, None
            if norm:
                centred = x - x.mean(0)
                scale = 1 / np.sqrt((centred * centred).mean(0) + self.dtype(EPS))
                hat = centred * scale
                x = hat * norm[0] + norm[1]
            if number < len(self.parameters) - 1:
                x = np.tanh(x) if tanh else np.maximum(x, 0)
            kept.append((given, x, scale, hat))
        return x, kept

    def _gradients(self, x, labels):
        logits, kept = self.forward(x)
        rows = np.arange(len(labels))
        exps = np.exp(logits - logits.max(1, keepdims=True))
        dy = exps / exps.sum(1, keepdims=True)
        self.loss = float(-np.log(dy[rows, labels]).mean())
        dy[rows, labels] -= 1
        dy /= self.dtype(len(labels))
        gradients = []
        for number in reversed(range(len(kept))):
            given, y, scale, hat = kept[number]
            weight, _, *norm = self.parameters[number]
            if number < len(kept) - 1:
                dy = dy * (1 - y * y) if self.net.activation == "tanh" else dy * (y > 0)
            extra = []
            if norm:
                extra = [(dy * hat).sum(0), dy.sum(0)]
                dy = norm[0] * scale * (dy - extra[1] / len(dy) - hat * (extra[0] / len(dy)))
            gradients.append([dy.T @ given, dy.sum(0), *extra])
            dy = dy @ weight if number else None
        return gradients[::-1]

    def _update(self, gradients):
        rate, t = self.dtype(self.net.rate), self.steps
        flat = zip(self.parameters, self.moments, gradients, strict=True)
        for p, (m, v), g in (row for layer in flat for row in zip(*layer, strict=True)):
            if self.net.optimizer == "sgd":
                p -= rate * g
                continue
            m += self.dtype(1 - BETA1) * (g - m)
            v += self.dtype(1 - BETA2) * (g * g - v)
            root = self.dtype(np.sqrt(1 - BETA2**t))
            p -= rate / self.dtype(1 - BETA1**t) * m / (np.sqrt(v) / root + self.dtype(SMALL))
