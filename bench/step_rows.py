"""Rows for whole training steps, threads, cold starts and memory."""

from functools import partial

from . import cold, steps
from .rows import Row
from .sides import with_threads

# PyTorch's time over ours, JAX's time over ours
STEP_TARGETS = {
    "disc 2-(32x17, batchnorm)-2, batch 100": (9.0, 3.2),
    "4-64-64-2, batch 32": (25.0, 7.0),
    "784-256-10, batch 64": (1.7, 1.6),
    "784-512-512-10, batch 128": (1.3, 1.3),
    "784-1024-1024-1024-10, batch 128": (1.15, 1.1),
}
LOOP_TARGETS = {1: 1.5, 32: 2.5, 200: 2.0}
TWO_THREADS = "784-512-512-10, batch 128"


def _step(net):
    return {"fonio": steps.ours(net), **_peer_steps(net, torch="torch_eager", jax="jax_jit")}


def _loop(net):
    return {"fonio": steps.ours(net), **_peer_steps(net, jax="jax_loop")}


def _peer_steps(net, **builders):
    from . import peers, step_peers

    return {
        peer: getattr(step_peers, builder)(net) if peers.find(peer) else None
        for peer, builder in builders.items()
    }


def _two_threads_over_one(net):
    side = steps.ours(net)
    return {"2 threads": with_threads(side, 2), "1 thread": with_threads(side, 1)}


def _many_nets(threads):
    """A hundred small nets by fit_many, and by fit one after another."""
    from fonio import nn

    x, labels, _ = MANY.data()
    options = {"epochs": 8, "batch_size": MANY.batch, "progress": False}

    def nets():
        return [steps.model(MANY) for _ in range(100)]

    def together():
        nn.fit_many(nets(), x[:1024], labels[:1024], threads=threads, **options)

    def apart():
        for seed, model in enumerate(nets()):
            nn.fit(model, x[:1024], labels[:1024], seed=seed, **options)

    return {"fonio": together, "one after another": apart}


def _step_rows():
    for name, (torch, jax) in STEP_TARGETS.items():
        targets = {"torch": torch, "jax": jax}
        net = steps.NETS[name]
        yield Row(f"step {name}", "training", partial(_step, net), targets=targets, seconds=4.0)
    for batch, target in LOOP_TARGETS.items():
        # long slices: a call of the compiled loop costs JAX 30 us that are not its arithmetic
        yield Row(
            f"loop 4-32-16-4 tanh Adam, batch {batch}",
            "training",
            partial(_loop, steps.tanh_net(batch)),
            targets={"jax": target},
            slice_seconds=5e-3,
            seconds=4.0,
        )


NET = steps.NETS[TWO_THREADS]
MANY = steps.Net((64, 32, 10), 32)
ROWS = [
    *_step_rows(),
    Row(
        f"2 threads over 1, {TWO_THREADS}",
        "training",
        partial(_two_threads_over_one, NET),
        targets={"1 thread": 1.7},
        threads=2,
        seconds=4.0,
    ),
    Row(
        f"step {TWO_THREADS}, 2 threads each",
        "training",
        partial(_step, NET),
        targets={"torch": 2.0, "jax": 1.3},
        threads=2,
        slice_seconds=20e-3,
        rest=10e-3,
        seconds=10.0,
    ),
    *(
        Row(
            f"100 nets 64-32-10 at once, 8 epochs, {threads} thread{'s' * (threads > 1)}",
            "training",
            partial(_many_nets, threads),
            targets={"one after another": target},
            threads=threads,
            seconds=20.0,
        )
        for threads, target in ((1, 1.5), (2, 2.5))
    ),
    Row("import", "cold start", figure=cold.import_seconds, limit=0.35),
    Row("first fit, empty cache", "cold start", figure=cold.first_fit_empty, limit=5.0),
    Row("first fit, filled cache", "cold start", figure=cold.first_fit_filled, limit=0.8),
    Row(
        "peak memory of training 784-512-512-10 on MNIST, above the data",
        "memory",
        figure=cold.peak_megabytes,
        limit=250.0,
        unit="MB",
    ),
]
