"""Philox against its published answers; what a mask promises besides its values."""

import numpy as np
import pytest
from numba import njit

from fonio import kernels

# Random123's kat_vectors, ten rounds: counter, key, words
KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_known_answers(counter, key, words):
    counters = np.array([[counter, counter]], np.uint32)
    found = kernels.philox(counters, np.array(key, np.uint32))
    assert found.shape == counters.shape
    assert found.dtype == np.uint32
    assert (found == np.array(words, np.uint32)).all()


def test_philox_inside_njit():
    @njit
    def inside(counter, key):
        return kernels.philox(counter, key)

    for counter, key, words in KNOWN:
        assert inside(counter, key) == words


def test_philox_errors():
    key = np.zeros(2, np.uint32)
    with pytest.raises(TypeError, match="philox: counter has dtype int64, expected uint32"):
        kernels.philox(np.zeros(4, np.int64), key)
    with pytest.raises(ValueError, match=r"philox: counter has shape \(3,\), expected \(..., 4\)"):
        kernels.philox(np.zeros(3, np.uint32), key)
    with pytest.raises(ValueError, match=r"philox: key has shape \(4,\), expected \(2,\)"):
        kernels.philox(np.zeros(4, np.uint32), np.zeros(4, np.uint32))


def test_a_mask_begins_like_a_longer_one():
    whole = kernels.dropout_mask(1000, 0.4, 3, 5, 1)
    for size in (0, 1, 15, 16, 63, 64, 65, 130, 999):
        np.testing.assert_array_equal(kernels.dropout_mask(size, 0.4, 3, 5, 1), whole[:size])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_chance_to_be_kept(rate):
    """200 seeds of 1000 elements: mean and spread are those of the binomial."""
    kept = [kernels.dropout_mask(1000, rate, seed).mean() for seed in range(200)]
    spread = np.sqrt(rate * (1 - rate) / 1000)
    assert abs(np.mean(kept) - (1 - rate)) <= 5 * spread / np.sqrt(200)
    assert abs(np.std(kept) - spread) <= 0.2 * spread


def test_every_part_of_the_key_matters():
    keys = [(0, 0, 0), (1, 0, 0), (2**32, 0, 0), (0, 1, 0), (0, 2**32, 0), (0, 0, 1)]
    masks = [kernels.dropout_mask(4096, 0.5, *key) for key in keys]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs((a == b).mean() - 0.5) < 0.05


def test_kept_values_are_scaled_and_backward_keeps_the_same():
    x = np.ones((33, 70), np.float32)
    y = kernels.dropout(x, 0.25, 9, 4, 2)
    mask = kernels.dropout_mask(x.shape, 0.25, 9, 4, 2)
    np.testing.assert_array_equal(y, np.where(mask, np.float32(1 / 0.75), 0))
    np.testing.assert_array_equal(kernels.dropout_backward(x, 0.25, 9, 4, 2), y)


def test_dropped_nan_and_infinity_are_multiplied_by_zero():
    for value in (np.nan, np.inf):
        y = kernels.dropout(np.full(1000, value), 0.5)
        assert np.isnan(y).any()
        assert not (y == 0).any()


def test_a_recorded_step_count_draws_anew():
    step, x = np.zeros(1, np.int64), np.ones(500)
    with kernels.record() as recording:
        y = kernels.dropout(x, 0.5, 1, step)
    for count in (3, 2**33 + 1):
        step[0] = count
        recording.replay()
        np.testing.assert_array_equal(y, kernels.dropout(x, 0.5, 1, count))


def test_dropout_mask_inside_njit():
    @njit
    def inside(out):
        kernels.dropout_mask(out.shape, 0.3, 7, 2, 1, out=out)

    out = np.empty((9, 30), np.bool_)
    inside(out)
    np.testing.assert_array_equal(out, kernels.dropout_mask((9, 30), 0.3, 7, 2, 1))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((1.0,), ValueError, "dropout: rate is 1.0, expected 0 <= rate < 1"),
        ((-0.1,), ValueError, "dropout: rate is -0.1, expected 0 <= rate < 1"),
        (("a",), TypeError, "dropout: rate is a str, expected a number"),
        ((0.5, -1), ValueError, "dropout: seed is -1, expected seed >= 0"),
        ((0.5, 1.5), TypeError, "dropout: seed is a float, expected an integer"),
        ((0.5, 2**64), ValueError, r"dropout: seed is \d+, expected seed < 2\*\*64"),
        ((0.5, 0, 0.5), TypeError, "dropout: step is a float, expected an integer"),
        ((0.5, 0, 0, 2**32), ValueError, r"dropout: stream is \d+, expected stream < 2\*\*32"),
    ],
)
def test_dropout_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.dropout(np.ones(3), *arguments)


def test_shuffles_of_four_are_equally_likely():
    """Every order of four comes 4000/24 times, by χ² of 23 degrees of freedom."""
    counts = {}
    for seed in range(4000):
        order = np.arange(4)
        kernels.shuffle(order, seed)
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    assert len(counts) == 24
    expected = 4000 / 24
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 50


def test_a_shuffle_is_a_permutation_that_its_key_decides():
    orders = []
    for key in ((0, 0), (0, 0), (1, 0), (0, 1)):
        order = np.arange(1000)
        kernels.shuffle(order, *key)
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
        orders.append(order)
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != orders[3]).any()
