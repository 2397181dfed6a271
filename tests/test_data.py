"""Splits, one-hot rows, batches, balanced orders, and labels smoothed in a fit."""

import numpy as np
import pytest

from fonio import kernels, nn


def _labelled(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(y), dtype=np.float32)[:, None], y


def test_a_split_keeps_the_shares_of_classes():
    x, y = _labelled([50, 30, 7])
    (x_train, y_train), (x_test, y_test) = nn.split(x, y, 0.3, seed=4)
    assert len(y_test) == round(87 * 0.3) == 26
    assert np.bincount(y_test).tolist() == [15, 9, 2]  # 14.94, 8.97 and 2.09 rows
    for part, labels in ((x_train, y_train), (x_test, y_test)):
        np.testing.assert_array_equal(y[part[:, 0].astype(int)], labels)
    rows = np.concatenate([x_train, x_test])[:, 0]
    np.testing.assert_array_equal(np.sort(rows), np.arange(87))
    assert (np.diff(x_train[:, 0]) < 0).any()  # in random order


def test_a_split_is_decided_by_its_seed():
    x, y = _labelled([40, 40])
    found = [nn.split(x, y, seed=seed)[1][0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_a_split_without_classes():
    x, y = _labelled([60, 40])
    _, (_, y_test) = nn.split(x, y.astype(np.float32), 0.5)
    assert len(y_test) == 50
    counts = {np.bincount(nn.split(x, y, 0.5, s, stratify=False)[1][1])[0] for s in range(20)}
    assert len(counts) > 3  # they vary by chance
    assert len(nn.split(x, np.ones((100, 3)), 0.25)[1][1]) == 25


def test_one_hot():
    assert nn.one_hot([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]
    rows = nn.one_hot(np.array([1, 1], np.uint8), classes=3, dtype=np.float64)
    assert rows.dtype == np.float64 and rows.tolist() == [[0, 1, 0]] * 2
    assert nn.one_hot(np.empty(0, int), 4).shape == (0, 4)


def test_batches_pass_through_all_rows_once():
    x, y = _labelled([5, 6])
    passes = [list(nn.batches(x, y, 4, seed=1, epoch=epoch)) for epoch in (0, 0, 1)]
    assert [len(batch[1]) for batch in passes[0]] == [4, 4, 3]
    orders = [np.concatenate([batch[0] for batch in found])[:, 0] for found in passes]
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(11))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    for rows, labels in passes[0]:
        np.testing.assert_array_equal(y[rows[:, 0].astype(int)], labels)
    assert [len(rows) for rows in nn.batches(x, batch_size=4, last=False)] == [4, 4]
    (first, *_) = nn.batches(x, batch_size=3, shuffle=False)
    assert first[:, 0].tolist() == [0, 1, 2]


def test_batches_drive_a_step_of_ones_own():
    (x, y), _ = nn.datasets.digits()
    nn.init.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    step = nn.step(model, "cross_entropy", nn.Adam(model.parameters(), lr=0.01), 32)
    means = []
    for epoch in range(4):
        losses = [step(*batch) for batch in nn.batches(x, y, 32, epoch=epoch, last=False)]
        means.append(np.mean(losses))
    assert means[3] < 0.5 * means[0]


def test_balanced_orders_hold_each_class_equally_often():
    x, y = _labelled([50, 3, 20])
    sampler = nn.BalancedSampler(y)
    order = sampler.order(seed=2, epoch=5)
    assert order.dtype == np.int64 and len(order) == 150
    for size in (3, 7, 32):
        for start in range(0, len(order) - size + 1):
            counts = np.bincount(y[order[start : start + size]], minlength=3)
            assert np.ptp(counts) <= 1
    seen = np.bincount(order, minlength=73)
    assert (seen[:50] == 1).all()  # the largest class is seen once
    assert set(seen[50:53]) == {16, 17} and set(seen[53:]) == {2, 3}
    np.testing.assert_array_equal(order, sampler.order(2, 5))
    for other in ((3, 5), (2, 6)):
        assert (order != sampler.order(*other)).any()
    (rows, labels) = next(nn.batches(x, y, 30, sampler=sampler))
    assert np.bincount(labels).tolist() == [10, 10, 10]


def test_a_balanced_order_of_any_length():
    sampler = nn.BalancedSampler(np.array([7, 7, 9, 9, 9]), rows=1)
    assert len(sampler.order(0, 0)) == 1
    assert len(nn.BalancedSampler(np.array([1, 1]), rows=5).order(0, 0)) == 5


def test_a_fit_with_balanced_batches_learns_the_rare_class(rng):
    """5 against 500 of overlapping classes: without balance the rare one is never predicted."""
    y = np.repeat([0, 1], [500, 5])
    x = (rng.standard_normal((505, 4)) + 1.0 * y[:, None]).astype(np.float32)
    found = []
    for sampler in (None, nn.BalancedSampler(y, rows=512)):
        nn.init.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 2))
        adam = nn.Adam(model.parameters(), lr=0.05)
        nn.fit(model, x, y, epochs=10, optimizer=adam, sampler=sampler, progress=False)
        found.append((nn.predict(model, x).argmax(1) == 1)[y == 1].mean())
    assert found[0] < 0.3 and found[1] > 0.7


def test_labels_are_smoothed_in_a_fit():
    """A fit to one label under ε = 0.2 ends at the smoothed probabilities; the figures say so."""
    x, y = np.ones((64, 1), np.float32), np.zeros(64, int)
    nn.init.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4))
    loss = nn.CrossEntropy(label_smoothing=0.2)
    sgd = nn.SGD(model.parameters(), lr=0.5)
    history = nn.fit(model, x, y, epochs=40, loss=loss, optimizer=sgd, progress=False)
    smoothed = np.array([0.85, 0.05, 0.05, 0.05])
    np.testing.assert_allclose(nn.predict_proba(model, x)[0], smoothed, atol=1e-3)
    entropy = -(smoothed * np.log(smoothed)).sum()
    assert history["loss"][-1] == pytest.approx(entropy, abs=1e-4)
    assert history["accuracy"][-1] == 1
    found = nn.evaluate(model, x, y, loss=loss)
    wanted, _ = kernels.cross_entropy(nn.predict(model, x), y, label_smoothing=0.2)
    assert found["loss"] == pytest.approx(float(wanted[0]))
    assert nn.evaluate(model, x, y)["loss"] < found["loss"]


X, Y = np.zeros((10, 2)), np.zeros(10, int)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nn.split(X, Y[:9]), ValueError, r"split: y has shape \(9,\), expected 10 rows"),
        (lambda: nn.split(X, Y, 1.0), ValueError, "split: test is 1.0, expected 0 < test < 1"),
        (lambda: nn.split(X, Y, 0.01), ValueError, "of 10 rows, expected rows on both sides"),
        (
            lambda: nn.split(X, X, stratify=True),
            ValueError,
            "split: y has shape .* expected labels",
        ),
        (lambda: nn.one_hot([0.5]), ValueError, "one_hot: labels has shape .*, dtype float64"),
        (lambda: nn.one_hot([3], 3), ValueError, r"labels\[0\] is 3, expected 0 <= label < 3"),
        (lambda: nn.one_hot([-1], 3), ValueError, r"labels\[0\] is -1, expected 0 <= label < 3"),
        (lambda: nn.batches(X, Y[:3]), ValueError, "batches: y has shape"),
        (lambda: nn.batches(X, batch_size=0), ValueError, "batches: batch_size is 0"),
        (lambda: nn.BalancedSampler(X), ValueError, r"BalancedSampler: y has shape \(10, 2\)"),
        (lambda: nn.BalancedSampler(Y, rows=0), ValueError, "BalancedSampler: rows is 0"),
        (lambda: nn.CrossEntropy(1.5), ValueError, "CrossEntropy: label_smoothing is 1.5, expect"),
        (lambda: nn.CrossEntropy("a"), TypeError, "CrossEntropy: label_smoothing is a str"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
