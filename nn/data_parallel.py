"""A fit by several processes, each on its part of every batch, over MPI (mpi4py).

    mpirun -n 4 python train.py      # in it: nn.fit(model, x, y, communicator=MPI.COMM_WORLD)

Every process is given the same model and all rows, and draws the same order. It trains on its rows
of each batch; then the gradients are added up, in the one flat array that they lie in, so that all
take the step that one process would take with the whole batch, up to rounding. Batch normalization
takes the whole batch's statistics (shared_statistics.py). Masks and augmentations are drawn apart.

The rule: what processes decide, rank 0 decides (figures, the end of the fit), and what they must
have in common is compared: before the first epoch what the fit is given, after each one the
weights.
"""

import functools
import zlib

import numpy as np

from ..kernels import arrays
from ..kernels.launch import kernel
from ..kernels.loops import for_each
from .exchange import Exchange, sharing
from .extras import needed
from .losses import Loss
from .steps import train_once
from .trainer import Trainer

APART = 1 << 16  # between the streams of random numbers of one process and the next


@kernel
def weigh_batch(start, stop, scale, sample_weight, class_weight, y, order, cursor, rows, width):
    """scale[0] = 1/(width·Σ weights) over a whole batch; a row without weights counts 1."""
    for _ in range(start, stop):
        total = np.float64(0)
        for row in range(np.uintp(cursor[0]), np.uintp(cursor[0] + rows)):
            weight = np.float64(1)
            if sample_weight is not None:
                weight *= sample_weight[order[row]]
            if class_weight is not None:
                weight *= class_weight[y[order[row]]]
            total += weight
        scale[0] = scale.dtype.type(1 / (total * width))


@for_each
def scale_by(i, values, scale):
    """values[i] *= scale[0]."""
    values[i] *= scale[np.uintp(0)]


def trainer_of(communicator, plain):
    """Return the trainer of a fit: the plain one where the communicator has one process."""
    with needed("fit: communicator needs mpi4py", "mpi", "mpi4py"):
        from mpi4py import MPI
    if not isinstance(communicator, MPI.Intracomm):
        kind = type(communicator).__name__
        raise TypeError(f"fit: communicator is a {kind}, expected mpi4py's, as MPI.COMM_WORLD")
    if communicator.Get_size() == 1:
        return plain
    if plain is not Trainer:
        raise ValueError(
            "fit: communicator: the optimizer evaluates the loss as it pleases, expected one that "
            "takes a step a batch"
        )
    return functools.partial(ParallelTrainer, Exchange(communicator))


class ParallelTrainer(Trainer):
    """A running fit that shares its batches with other processes."""

    def __init__(self, exchange, model, loss, optimizer, data, options):
        if model.device != "cpu":
            raise ValueError("fit: communicator: the model is on cuda, expected it on the CPU")
        self.exchange = exchange
        self.leads = exchange.rank == 0
        super().__init__(model, loss, optimizer, data, options)
        self._compare("before the fit", self._identity())
        for module in [*model.modules(), *self.augment]:
            if hasattr(module, "stream"):
                module.stream += exchange.rank * APART

    def held(self):
        return self.exchange.held()

    def agreed(self, found):
        return self.exchange.communicator.bcast(found)

    def interrupted(self):
        """Let Ctrl-C end the process: others cannot go on without it."""
        super().interrupted()
        raise KeyboardInterrupt

    def run_epoch(self, epoch):
        with self.exchange.raising():
            yield from super().run_epoch(epoch)

    def figures(self):
        found = np.array([self.total[0], self.hits[0]], np.float64)
        self.total[0], self.hits[0] = sum(self.exchange.communicator.allgather(found))
        self._compare(f"after epoch {self.epoch}", self._weights())
        return super().figures()

    def _part(self, size):
        bounds, rank = self.exchange.parts(size), self.exchange.rank
        return bounds[rank], bounds[rank + 1]

    def _train(self, size, x, y, weights):
        loss = self._part_of_loss(size, weights)
        with sharing(self.exchange, size):
            return train_once(
                self.model, loss, self.stepper, x, y, between=self._before_update,
            )  # fmt: skip

    def _before_update(self, grads):
        self.exchange.add_up(grads)
        super()._before_update(grads)

    def _part_of_loss(self, size, weights):
        """Return the loss whose values and derivatives, added up, are those of the whole batch."""
        scale = arrays.scratch(self.optimizer.values, 1)

        def part(output, y):
            width, samples, classes, labels = output.shape[1], self.weights, None, None
            if not len(output):  # fewer rows than processes
                value, doutput = arrays.zeros(output, 1, output.dtype), output
            elif isinstance(self.loss, Loss):
                summed = functools.partial(self.loss, reduction="sum")
                value, doutput = summed(output, y, weights, self.class_weight)
                width = 1 if self.loss.classes else width
                if self.class_weight is not None and self.loss.classes and y.ndim == 1:
                    classes, labels = self.class_weight, self.y
            else:  # a mean over rows
                value, doutput = self.loss(output, y)
                width, samples = 1 / len(output), None
            places = labels, self.order, self.cursor
            weigh_batch(1, scale, samples, classes, *places, size, float(width))
            scale_by(1, value, scale)
            scale_by(doutput.size, doutput.reshape(-1), scale)
            return value, doutput

        return part

    def _identity(self):
        """What every process must have been given alike, by name."""
        optimizer = self.optimizer
        given = self.x, self.y, self.weights, self.class_weight
        data = [array for array in given if array is not None]
        return {
            "another model": repr(self.model),
            **self._weights(),
            "other data": [_checksum(data), self.rows],
            "another optimizer": [
                type(optimizer).__name__,
                [float(lr[0]) for lr, _ in optimizer.rates()],
                _checksum(optimizer.state()),
            ],
            "another seed": self.seed,
            "another number of epochs": self.epochs,
            "another batch_size": self.batch_size,
        }

    def _weights(self):
        model = self.model
        values = [parameter.value for parameter in model.parameters()]
        return {"other weights": _checksum(values + model.buffers())}

    def _compare(self, when, own):
        """Raise, in all processes, where one has not what rank 0 has."""
        everyone = self.exchange.communicator.allgather(own)
        for rank, other in enumerate(everyone):
            wrong = [name for name, value in other.items() if value != everyone[0][name]]
            if wrong:
                raise ValueError(
                    f"fit: communicator: {when} rank {rank} has {wrong[0]} than rank 0, expected "
                    "all processes to have the same"
                )


def _checksum(found):
    total = 0
    for array in found:
        total = zlib.crc32(np.ascontiguousarray(array), total)
    return total
