"""Training on a GPU: a replayed graph against eager, a data set learned, and a step's speed."""

from functools import partial

import numpy as np

from .gpu_timing import captured_by_torch, repeated, seconds_of, torch_on_cuda
from .gpu_worker import Check, Wrong
from .steps import Net, training_step

STEP = Net((784, 512, 512, 10), 128)
MIXED = Net((784, 64, 10), 128, batchnorm=True, optimizer="adam", rate=1e-3)
TINY = Net((6, 7, 3), 16, batchnorm=True, optimizer="adam", rate=1e-3)


def checks():
    """List the checks of training."""
    return [
        Check("graph replay against eager", "recording", partial(_replay_against_eager, MIXED)),
        Check("fit on cuda against the CPU", "training", _fit_against_cpu),
        Check("fit learns", "training", _fit_learns, limit=150.0),
    ]


def speeds():
    """List the speeds of training steps."""
    return [Check("step 784-512-512-10, batch 128", "speed", _step)]


def _replay_against_eager(net, bench):
    """So many steps launched one by one, and replayed as graphs: not one bit differs."""
    from fonio.nn.steps import RecordedStep, same_bits

    net, steps = (TINY, 3) if bench.tiny else (net, 60)
    eager, eager_state, _, eager_loss = training_step(net, "cuda")
    run, state, made, _ = training_step(net, "cuda")
    for _ in range(steps):
        eager()
    step = RecordedStep(run, state, made)
    for times in (1, 1, steps - 2):
        step(times)
    differing = sum(not same_bits(a, b) for a, b in zip(eager_state, state, strict=True))
    if differing:
        raise Wrong(f"{differing} of {len(state)} arrays differ", {"differing": differing})
    return {"steps": steps, "arrays": len(state), "loss": float(eager_loss[0])}


def _layers(*sizes):
    from fonio import nn

    stack = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1], strict=True):
        stack += [
            nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.GELU(), nn.Dropout(0.1)
        ]  # fmt: skip
    return nn.Sequential(*stack, nn.Linear(*sizes[-2:]))


def _fit_against_cpu(bench):
    """The same fit on both: losses apart by rounding alone, the masks being the same."""
    from fonio import nn

    rng = np.random.default_rng(3)
    rows, width = (10, 4) if bench.tiny else (1000, 50)
    x, y = rng.standard_normal((rows, width), np.float32), rng.integers(0, 3, rows)
    losses = []
    for place in ("cpu", "cuda"):
        nn.manual_seed(1)
        made = _layers(width, 5, 3).to(place)
        found = nn.fit(made, x, y, epochs=2, batch_size=5 if bench.tiny else 50, progress=False)
        losses.append(found.loss)
    apart = float(np.max(np.abs(np.subtract(*losses)) / np.abs(losses[0])))
    if not apart <= 1e-3:
        raise Wrong(f"losses {losses[1]}, expected {losses[0]}", {"apart": apart})
    return {"apart": apart, "losses": [float(v) for v in losses[1]]}


def _fit_learns(bench):
    """A net trained on MNIST, where its folder is given, else on the digits in the package."""
    from fonio import nn

    if bench.mnist:
        (x, y), (x_test, y_test) = nn.datasets.mnist(bench.mnist)
        sizes, epochs, batch, least = (784, 256, 128, 10), 5, 128, 0.97
    else:
        (x, y), (x_test, y_test) = nn.datasets.digits()
        sizes, epochs, batch, least = (64, 64, 10), 30, 32, 0.93
    if bench.tiny:
        x, y, x_test, y_test = x[:16], y[:16], x_test[:8], y_test[:8]
        sizes, epochs, batch, least = (64, 4, 10), 2, 8, 0.0
    nn.manual_seed(0)
    made = _layers(*sizes).to("cuda")
    found = nn.fit(made, x, y, epochs=epochs, batch_size=batch, seed=0, progress=False)
    accuracy = nn.evaluate(made, x_test, y_test)["accuracy"]
    figures = {
        "data": "MNIST" if bench.mnist else "digits",
        "epochs": epochs,
        "seconds of the first epoch": float(found.seconds[0]),  # compiling included
        "seconds of an epoch": float(np.median(found.seconds[1:])),
        "loss": float(found.loss[-1]),
        "accuracy": float(accuracy),
    }
    if not (np.isfinite(figures["loss"]) and accuracy >= least):
        raise Wrong(f"accuracy {accuracy:.4f}, expected at least {least}", figures)
    return figures


def _step(bench):
    """One training step, eager and recorded, against PyTorch eager and in a CUDA graph."""
    from fonio.nn.steps import RecordedStep

    net = Net((6, 7, 3), 16) if bench.tiny else STEP
    run, state, made, _ = training_step(net, "cuda")
    eager = seconds_of(bench, repeated(run))
    ours = seconds_of(bench, RecordedStep(run, state, made))
    figures = {"us eager": eager * 1e6, "us recorded": ours * 1e6}
    torch = torch_on_cuda()
    if torch is None:
        return figures
    torch.backends.cuda.matmul.allow_tf32 = False
    call = _torch_step(torch, net)
    figures["us PyTorch eager"] = seconds_of(bench, repeated(call)) * 1e6
    figures["us PyTorch graph"] = seconds_of(bench, captured_by_torch(torch, call)) * 1e6
    figures["of PyTorch eager"] = figures["us PyTorch eager"] / figures["us recorded"]
    figures["of PyTorch graph"] = figures["us PyTorch graph"] / figures["us recorded"]
    reached = figures["of PyTorch eager"] >= 5 and figures["of PyTorch graph"] >= 1
    return {**figures, "target": "5 eager, 1 graph", "reached": reached}


def _torch_step(torch, net):
    """The same step on a batch that lies on the device; the gather is left out, in its favour."""
    from .step_peers import _torch_model

    x, labels, order = (torch.from_numpy(a) for a in net.data())
    x, labels = x[order[0]].cuda(), labels[order[0]].cuda()
    made = _torch_model(torch, net).cuda()
    optimizer = torch.optim.SGD(made.parameters(), lr=net.rate)
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()  # to None: a graph then writes gradients where it would add
        loss_of(made(x), labels).backward()
        optimizer.step()

    return step
