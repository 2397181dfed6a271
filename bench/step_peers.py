"""The same training steps in PyTorch (eager) and JAX (a jitted step, or the loop compiled)."""

from itertools import cycle

from .measuring import Repeats


def torch_eager(net):
    """index_select, zero_grad, forward, loss, backward, step: as anyone writes it."""
    import torch

    x, labels, order = (torch.from_numpy(a) for a in net.data())
    model = _torch_model(torch, net)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[net.optimizer]
    optimizer = kind(model.parameters(), lr=net.rate)
    loss_of = torch.nn.CrossEntropyLoss()
    batches, last = cycle(order), [None]

    def run(times):
        for _, rows in zip(range(times), batches, strict=False):
            xb, yb = x.index_select(0, rows), labels.index_select(0, rows)
            optimizer.zero_grad()
            loss = loss_of(model(xb), yb)
            loss.backward()
            optimizer.step()
            last[0] = loss

    return Repeats(run, result=lambda: last[0].item())


def _torch_model(torch, net):
    last, stack = len(net.layers()) - 1, []
    for number, ((i, o), (weight, bias)) in enumerate(
        zip(net.layers(), net.weights(), strict=True)
    ):
        linear = torch.nn.Linear(i, o)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        stack.append(linear)
        if number < last:
            stack += [torch.nn.BatchNorm1d(o)] if net.batchnorm else []
            stack.append({"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[net.activation]())
    return torch.nn.Sequential(*stack)


def jax_jit(net):
    """One jitted step called from Python: the batch gathered inside, what changes donated."""
    import jax

    state, constants, step = _jax_step(net)
    step = jax.jit(step, donate_argnums=0)
    holder = [state]

    def run(times):
        state = holder[0]
        for _ in range(times):
            state = step(state, *constants)
        holder[0] = jax.block_until_ready(state)

    return Repeats(run, result=lambda: float(holder[0]["loss"]))


def jax_loop(net):
    """The loop over the steps compiled too: no Python between one step and the next."""
    import jax

    state, constants, step = _jax_step(net)

    def loop(state, times, *constants):
        return jax.lax.fori_loop(0, times, lambda _, s: step(s, *constants), state)

    loop = jax.jit(loop, donate_argnums=0)
    holder = [state]

    def run(times):
        holder[0] = jax.block_until_ready(loop(holder[0], times, *constants))

    return Repeats(run, result=lambda: float(holder[0]["loss"]))


def _jax_step(net):
    """state, constants (x, labels, order) and step(state, *constants) -> state."""
    import jax
    import jax.numpy as jnp

    parameters, statistics = _jax_parameters(jnp, net)
    state = {
        "parameters": parameters,
        "statistics": statistics,
        "optimizer": _jax_optimizer_state(jax, jnp, net, parameters),
        "step": jnp.zeros((), jnp.int32),
        "loss": jnp.zeros((), jnp.float32),
    }
    x, labels, order = net.data()
    constants = jnp.asarray(x), jnp.asarray(labels, jnp.int32), jnp.asarray(order, jnp.int32)

    def loss_of(parameters, statistics, xb, yb):
        logits, statistics = _jax_forward(jax, jnp, net, parameters, statistics, xb)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), yb[:, None], axis=1)
        return -picked.mean(), statistics

    def step(state, x, labels, order):
        rows = order[state["step"] % order.shape[0]]
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, statistics), gradients = differentiate(
            state["parameters"], state["statistics"], x[rows], labels[rows]
        )
        count = state["step"] + 1
        parameters, optimizer = _jax_update(jax, jnp, net, state, gradients, count)
        return {
            "parameters": parameters,
            "statistics": statistics,
            "optimizer": optimizer,
            "step": count,
            "loss": loss,
        }

    return state, constants, step


def _jax_parameters(jnp, net):
    parameters, statistics = [], []
    for number, (weight, bias) in enumerate(net.weights()):
        layer = {"weight": jnp.asarray(weight), "bias": jnp.asarray(bias)}
        width = len(bias)
        if net.batchnorm and number < len(net.sizes) - 2:
            layer |= {"gamma": jnp.ones(width), "beta": jnp.zeros(width)}
            statistics.append((jnp.zeros(width), jnp.ones(width)))
        parameters.append(layer)
    return parameters, statistics


def _jax_forward(jax, jnp, net, parameters, statistics, h):
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[net.activation]
    after = []
    for number, layer in enumerate(parameters):
        h = h @ layer["weight"].T + layer["bias"]
        if number == len(parameters) - 1:
            return h, after
        if net.batchnorm:
            mean, var = h.mean(0), h.var(0)
            old_mean, old_var = statistics[number]
            n = h.shape[0]
            after.append((0.9 * old_mean + 0.1 * mean, 0.9 * old_var + 0.1 * var * n / (n - 1)))
            h = (h - mean) * jax.lax.rsqrt(var + 1e-5) * layer["gamma"] + layer["beta"]
        h = activation(h)


def _jax_optimizer_state(jax, jnp, net, parameters):
    if net.optimizer == "sgd":
        return ()
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)  # noqa: E731
    return zeros(), zeros()


def _jax_update(jax, jnp, net, state, gradients, count):
    parameters = state["parameters"]
    if net.optimizer == "sgd":
        return jax.tree.map(lambda p, g: p - net.rate * g, parameters, gradients), ()
    first, second = state["optimizer"]
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    t = count.astype(jnp.float32)
    size = net.rate / (1 - 0.9**t)
    root = jnp.sqrt(1 - 0.999**t)
    update = lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + 1e-8)  # noqa: E731
    return jax.tree.map(update, parameters, first, second), (first, second)
