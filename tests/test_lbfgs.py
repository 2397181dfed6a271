"""L-BFGS: minima, its line search, fits on all data at once, bad input. PyTorch's path: frozen."""

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.kernels import get_num_threads, set_num_threads
from fonio.nn.line_search import CURVATURE, DECREASE, LineSearch, Point


def _rosenbrock(p):
    x, y = p
    gradient = [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2, gradient


def _parabola(p):
    return float(((p - 3) ** 2).sum()), 2 * (p - 3)


@pytest.mark.parametrize("function, place", [(_parabola, 3), (_rosenbrock, 1)])
def test_minima_are_found(function, place):
    p = nn.Parameter(np.array([-0.5, 1.5]))
    optimizer = nn.LBFGS([p], line_search_fn="strong_wolfe", max_iter=60, tolerance_change=1e-15)

    def closure():
        loss, gradient = function(p.value)
        p.grad = gradient
        return loss

    assert optimizer.step(closure) == function(np.array([-0.5, 1.5]))[0]
    np.testing.assert_allclose(p.value, place, atol=1e-6)
    assert optimizer.evaluations < 60


def test_a_search_finds_a_step_of_the_strong_wolfe_conditions():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b, c = rng.uniform(0.1, 20), rng.uniform(0, 3), rng.uniform(0.1, 9)

        def evaluate(t, a=a, b=b, c=c):
            loss = a * (t - c) ** 2 + b * np.sin(3 * t)
            return Point(t, loss, 2 * a * (t - c) + 3 * b * np.cos(3 * t), None)

        start = evaluate(0.0)
        if start.slope >= 0:
            continue
        found = LineSearch(evaluate, start, 1.0, 1e-9, 25).run(rng.choice([1e-3, 0.1, 1.0, 50.0]))
        assert found.loss <= start.loss + DECREASE * found.t * start.slope
        assert abs(found.slope) <= CURVATURE * abs(start.slope)


def test_a_search_comes_back_from_where_the_loss_is_no_number():
    def evaluate(t):
        with np.errstate(all="ignore"):
            loss = (t - 1) ** 2 if t < 3 else np.float64(np.inf) - np.inf * (t > 9)
        return Point(t, loss, 2 * (t - 1), None)

    for first in (5.0, 50.0):
        found = LineSearch(evaluate, evaluate(0.0), 1.0, 1e-9, 25).run(first)
        assert 0.1 < found.t < 1.9


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_nothing_moves_where_the_loss_is_no_number(spoilt):
    p = nn.Parameter(np.ones(2))
    for loss, gradient in ((spoilt, 1.0), (1.0, spoilt)):
        optimizer = nn.LBFGS([p], line_search_fn="strong_wolfe")

        def closure(loss=loss, gradient=gradient):
            p.grad = [gradient, 1.0]
            return loss

        optimizer.step(closure)
        assert p.value.tolist() == [1, 1]


def test_an_interrupted_search_goes_back():
    p = nn.Parameter(np.array([-0.5, 1.5]))
    optimizer = nn.LBFGS([p], line_search_fn="strong_wolfe")
    left = [5]

    def closure():
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        loss, gradient = _rosenbrock(p.value)
        p.grad = gradient
        losses.append(loss)
        return loss

    losses = []
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert _rosenbrock(p.value)[0] in losses


def _blobs(rows=90):
    rng = np.random.default_rng(3)
    y = np.arange(rows) % 3
    return (rng.standard_normal((rows, 4)) + 2 * np.eye(3, 4)[y]).astype(np.float32), y


def _fit(threads=1, **options):
    before = get_num_threads()
    set_num_threads(threads)
    try:
        nn.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
        options = {"epochs": 3, "optimizer": "lbfgs", "progress": False, **options}
        return model, nn.fit(model, *_blobs(), **options)
    finally:
        set_num_threads(before)


def test_a_fit_is_a_step_on_all_rows_an_epoch_and_goes_on():
    model, history = _fit(epochs=4)
    assert history.epochs == 4
    assert max(history.loss) < 0.5
    assert nn.evaluate(model, *_blobs())["accuracy"] > 0.8
    assert model.fit_optimizer.iterations > 20
    bits = model.fit_optimizer.values.tobytes()
    assert _fit(threads=3, epochs=4)[0].fit_optimizer.values.tobytes() == bits
    again, _ = _fit(epochs=3)
    nn.fit(again, *_blobs(), epochs=1, optimizer="lbfgs", progress=False)
    assert again.fit_optimizer.iterations == model.fit_optimizer.iterations


def test_a_fit_reports_the_loss_of_the_weights_it_ends_with():
    x, y = _blobs()
    model = nn.Sequential(nn.Linear(4, 3))
    history = nn.fit(model, x, y, epochs=2, optimizer="lbfgs", progress=False)
    found = nn.evaluate(model, x, y)
    assert history.loss[-1] == pytest.approx(found["loss"], rel=1e-5)
    assert history.accuracy[-1] == found["accuracy"]


def test_penalties_are_part_of_what_is_minimised():
    """Ridge regression, whose answer is known."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 5))
    y = x @ [1.0, -2.0, 0.5, 0.0, 3.0] + 0.3 + 0.1 * rng.standard_normal(40)
    model = nn.Sequential(nn.Linear(5, 1)).to(np.float64)
    optimizer = nn.LBFGS(model, line_search_fn="strong_wolfe", tolerance_change=1e-14)
    options = {"loss": "mse", "optimizer": optimizer, "progress": False}
    nn.fit(model, x, y, epochs=5, callbacks=[nn.L2(0.8)], **options)
    inputs = np.column_stack([x, np.ones(40)])
    ridge = np.diag([0.8] * 5 + [0.0])
    wanted = np.linalg.solve(2 / 40 * inputs.T @ inputs + ridge, 2 / 40 * inputs.T @ y)
    np.testing.assert_allclose(model[0].weight.value[0], wanted[:5], atol=1e-7)
    np.testing.assert_allclose(model[0].bias.value, wanted[5:], atol=1e-7)


def test_schedules_and_callbacks_count_epochs():
    average = nn.EMA(0.5, warm=False)
    model, history = _fit(schedule=nn.ExponentialLR(0.5, by="steps"), callbacks=[average])
    assert history.lr == pytest.approx([1.0, 0.5, 0.25])
    model, history = _fit(epochs=1, callbacks=[nn.MaxNorm(0.1)])
    lengths = np.linalg.norm(model[0].weight.value, axis=1)
    assert (lengths <= 0.1 * (1 + 1e-6)).all() and model.fit_optimizer.iterations == 20


def _twice(parameters):
    return [{"params": parameters[:1]}, {"params": parameters[1:]}]


X, Y = _blobs(6)
BAD = [
    (lambda m: nn.LBFGS(m).step(), TypeError, r"LBFGS: step has no closure, expected step\(clos"),
    (lambda m: nn.LBFGS(_twice(m.parameters())), ValueError, "LBFGS: there are 2 groups, expecte"),
    (lambda m: nn.LBFGS(m, line_search_fn="wolfe"), ValueError, "unknown line_search_fn 'wolfe'"),
    (lambda m: nn.LBFGS(m, max_iter=0), ValueError, "LBFGS: max_iter is 0, expected max_iter >= 1"),
    (lambda m: nn.LBFGS(m, history_size=0), ValueError, "LBFGS: history_size is 0, expected"),
    (lambda m: nn.LBFGS(m, tolerance_grad=-1), ValueError, "tolerance_grad is -1, expected"),
    (
        lambda m: nn.fit(m, X, Y, optimizer="lbfgs", clip_norm=1.0),
        ValueError,
        "fit: clip_norm is 1.0, expected None with LBFGS",
    ),
    (
        lambda m: nn.step(m, "cross_entropy", nn.LBFGS(m), 6)(X, Y),
        TypeError,
        "LBFGS: step has no closure",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=range(len(BAD)))
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.Sequential(nn.Linear(4, 3)))


def test_dot_is_the_same_for_any_number_of_threads():
    a, b = np.random.default_rng(0).standard_normal((2, 3_000_000)).astype(np.float32)
    before, found = get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            found.add(float(kernels.dot(a, b)[0]))
    finally:
        set_num_threads(before)
    assert len(found) == 1
