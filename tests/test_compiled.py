"""Nets inside njit code: answers, training, new weights, no compiling anew, bad input."""

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError

from fonio import nn
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs(96)


@njit
def answer(model, x, out):
    model(x, out)
    return out


@njit
def learn(model, x, y, times):
    loss = 0.0
    for _ in range(times):
        loss = model.train(x, y)
    return loss


def mlp(*widths, activation=nn.Tanh, seed=0):
    nn.manual_seed(seed)
    layers = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_a_net_answers_inside_njit_as_outside(batch):
    model = net()
    quiet_fit(model, X, Y)
    handle = nn.compile(model, batch=batch)
    x, out = X[:batch], np.zeros((batch, 3), np.float32)
    wanted = nn.predict(model, x)
    assert np.array_equal(answer(handle, x, out), wanted)
    assert np.array_equal(handle(x), wanted)
    wide = np.zeros((batch, 3))
    assert np.array_equal(answer(handle, x.astype(np.float64), wide), wanted)
    strided = np.zeros((batch, 6), np.float32)[:, ::2]
    assert np.array_equal(
        answer(handle, X[: 2 * batch][::2], strided), nn.predict(model, X[: 2 * batch : 2])
    )
    if batch == 1:
        assert np.array_equal(answer(handle, x[0], np.zeros(3, np.float32)), wanted[0])
        assert np.array_equal(handle(x[0]), wanted[0])


def test_other_models_and_new_weights_run_in_the_same_machine_code():
    model = mlp(5, 7, 2)
    handle, out = nn.compile(model), np.zeros(2, np.float32)
    answer(handle, X[0], out)
    compiled = len(answer.signatures)
    model[0].weight.value *= 2
    assert np.array_equal(answer(handle, X[0], out), nn.predict(model, X[:1])[0])
    other = mlp(5, 20, 30, 2, activation=nn.GELU)
    assert np.array_equal(answer(nn.compile(other), X[0], out), nn.predict(other, X[:1])[0])
    assert len(answer.signatures) == compiled


@pytest.mark.parametrize("batch", [8, 32])
def test_training_inside_njit_is_a_step_outside(batch):
    model, twin = net(dropout=False), net(dropout=False)
    optimizer = nn.Adam(model.parameters(), lr=0.01)
    before = weights(model)
    handle = nn.compile(model, batch=batch, loss="cross_entropy", optimizer=optimizer)
    assert weights(model) == before
    assert int(optimizer.count[0]) == 0
    x, y = X[:batch], Y[:batch]
    loss = learn(handle, x, y, 5)
    step = nn.step(twin, "cross_entropy", nn.Adam(twin.parameters(), lr=0.01), batch)
    losses = [step(x, y) for _ in range(6)]
    assert loss == np.float32(losses[4])
    assert handle.train(x, y) == losses[5]
    assert weights(model) == weights(twin)
    out = np.zeros((batch, 3), np.float32)
    assert np.array_equal(answer(handle, x, out), nn.predict(model, x))


@njit
def learn_and_answer(trained, reader, x, y, out):
    trained.train(x, y)
    reader.refresh()
    reader(x[0], out)


def test_numbers_as_targets_and_a_reader_beside_the_trained():
    model = mlp(5, 6, 2)
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    trained = nn.compile(model, batch=4, loss="mse", optimizer=optimizer)
    reader, out = nn.compile(model), np.zeros(2, np.float32)
    learn_and_answer(trained, reader, X[:4], np.ones((4, 2)), out)
    assert np.array_equal(out, nn.predict(model, X[:1])[0])


def test_one_label_for_a_batch_of_one():
    model = mlp(5, 6, 3)
    handle = nn.compile(model, loss="cross_entropy", optimizer=nn.SGD(model.parameters(), lr=0.1))
    assert learn(handle, X[0], Y[0], 50) < 0.2


@njit(parallel=True)
def answer_all(handles, x, out):
    for worker in prange(len(handles)):
        for row in range(worker, len(x), len(handles)):
            handles[worker](x[row], out[row])


def test_copies_answer_on_threads_of_their_own():
    model = mlp(5, 33, 3)
    out = np.zeros((len(X), 3), np.float32)
    answer_all(nn.compile(model).copies(3), X, out)
    assert np.array_equal(out, nn.predict(model, X))


def test_dropout_is_drawn_while_training_and_not_while_answering():
    model = net()
    handle = nn.compile(
        model, batch=32, loss="cross_entropy", optimizer=nn.SGD(model.parameters(), lr=0.0)
    )
    losses = {learn(handle, X[:32], Y[:32], 1) for _ in range(3)}
    assert len(losses) == 3
    assert int(model[3].counter[0]) == 3


@njit
def frozen_in():
    return HANDLE(X[0], np.zeros(2))


HANDLE = nn.compile(mlp(5, 7, 2))
BATCH = nn.compile(mlp(5, 7, 2), batch=4)
OUT = np.zeros(2, np.float32)


def moved():
    model = mlp(5, 7, 2)
    handle = nn.compile(model)
    nn.SGD(model.parameters(), lr=0.1)
    return answer(handle, X[0], OUT)


BAD = [
    (lambda: nn.compile(3), TypeError, "compile: model is a int"),
    (lambda: nn.compile(mlp(5, 2), batch=0), ValueError, "batch is 0"),
    (lambda: nn.compile(nn.Sequential(nn.ReLU())), ValueError, "input width is unknown"),
    (lambda: nn.compile(mlp(5, 2), loss="mse"), ValueError, "belong together"),
    (lambda: answer(HANDLE, X[0, :3], OUT), ValueError, "another shape than the net"),
    (lambda: answer(HANDLE, X[0], OUT[:1]), ValueError, "another shape than the net"),
    (lambda: answer(BATCH, X[:3], OUT[None]), ValueError, "another shape than the net"),
    (lambda: answer(BATCH, X[0], OUT), ValueError, "another shape than the net"),
    (lambda: HANDLE(X[:3]), ValueError, r"x has shape \(3, 5\), expected \(1, 5\)"),
    (lambda: HANDLE.train(X[:1], Y[:1]), ValueError, "without loss and optimizer"),
    (lambda: learn(HANDLE, X[0], 1, 1), TypingError, "without loss and optimizer"),
    (lambda: answer(HANDLE, 3.0, OUT), TypingError, "x or out is no array"),
    (lambda: frozen_in(), TypingError, "pass the net as an argument"),
    (lambda: moved(), RuntimeError, "parameters have moved since"),
    (lambda: HANDLE.copies(0), ValueError, "count is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_net_that_trains_is_not_shared():
    model = mlp(5, 2)
    handle = nn.compile(model, loss="mse", optimizer=nn.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="two threads that train one model"):
        handle.copies(2)
    assert repr(handle) == "<CompiledNet of 5 -> 2, batch 1, trains>"
