"""A fit by an optimizer that evaluates the loss as it pleases: L-BFGS with its line search.

An epoch is one step on all rows. What is recorded is an evaluation: forward, loss and backward.

The rule: within an epoch the loss is one function of the weights. Masks and augmentations draw the
same numbers at each evaluation, and penalties count.
"""

from ..kernels import arrays
from .penalties import Penalty
from .trainer import Trainer


class _Gradients:
    """Stands for the optimizer where gradients alone are wanted."""

    def __init__(self, optimizer):
        self.grads = optimizer.grads

    def step(self):
        """Leave the parameters as they are."""


class FullBatchTrainer(Trainer):
    """A running fit whose every epoch is one step of a closure's optimizer."""

    def __init__(self, model, loss, optimizer, data, options):
        name = type(optimizer).__name__
        for clip in ("clip_norm", "clip_value"):
            if options[clip] is not None:
                raise ValueError(
                    f"fit: {clip} is {options[clip]}, expected None with {name}, whose line search "
                    "wants the gradient of the loss"
                )
        super().__init__(model, loss, optimizer, data, options | {"shuffle": False})
        self.stepper = _Gradients(optimizer)

    @property
    def batch_size(self):
        """All rows."""
        return len(self.order)

    def run_epoch(self, epoch):
        """Take one step; the figures are those of the weights that it ends with."""
        self.epoch = epoch
        self._arrange(epoch)
        self.done = len(self.order)
        evaluate = self._evaluation()
        self.optimizer.step(evaluate)
        super()._after_update()
        evaluate()
        yield self.done

    def _evaluation(self):
        """Return the closure of an epoch."""
        size = self.done
        if size not in self._steps:
            self._steps[size] = self._make_step(size)
        drawn = [module.counter for module in self.model.modules() if hasattr(module, "counter")]
        drawn += [self.taken, *(augmentation.counter for augmentation in self.augment)]
        before = [arrays.on_host(counter).copy() for counter in drawn]
        penalties = [callback for callback in self.callbacks if isinstance(callback, Penalty)]

        def evaluate():
            for counter, old in zip(drawn, before, strict=True):
                counter[...] = old
            self.cursor[0] = self.total[0] = self.hits[0] = 0
            self._steps[size](1)
            return float(self.total[0]) / size + sum(p.value(self.model) for p in penalties)

        return evaluate

    def _after_update(self):
        """Do nothing after an evaluation: the step is not taken yet."""
