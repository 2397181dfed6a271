"""Train an MLP on the digits that ship with fonio, and show what it learned.

    python examples/demo.py [--epochs 40] [--quick]

1437 images of 8 x 8 are trained on, 360 never seen; the split is fixed (nn.datasets.digits).
"""

import argparse
import time

import numpy as np

from fonio import nn

SHADES = " .:-=+*#%@"


def draw(image):
    """Return an 8 x 8 image as lines of text, two characters a pixel."""
    rows = np.clip((image.reshape(8, 8) * (len(SHADES) - 1)).round().astype(int), 0, 9)
    return ["".join(SHADES[level] * 2 for level in row) for row in rows]


def main():
    """Train, test and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40, help="passes over the data (40)")
    parser.add_argument("--quick", action="store_true", help="three epochs, for a test")
    options = parser.parse_args()
    epochs = 3 if options.quick else options.epochs

    (x, y), (x_test, y_test) = nn.datasets.digits()
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)
    )
    print(f"{len(x)} digits to train on, {len(x_test)} to test on; {model}\n")

    began = time.perf_counter()
    history = nn.fit(model, x, y, epochs=epochs, batch_size=32, optimizer="adam", seed=0)
    seconds = time.perf_counter() - began
    training = sum(history.seconds[1:])
    found = nn.evaluate(model, x_test, y_test)
    probabilities = nn.predict_proba(model, x_test)
    show_mistakes(x_test, y_test, probabilities)
    speed = len(x) * (history.epochs - 1) / max(training, 1e-9)
    print(f"\n{history.epochs} epochs in {seconds:.2f} s, with compiling or loading;")
    print(f"{speed:,.0f} samples a second after it.")
    print(f"test accuracy {100 * found['accuracy']:.2f} % ({len(x_test)} digits never trained on)")


def show_mistakes(x, y, probabilities, count=4):
    """Draw the first wrongly read digits side by side."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y)[:count]
    if not len(wrong):
        return
    print(
        f"\n{count} of the digits it reads wrongly:" if len(wrong) == count else "\nread wrongly:"
    )
    print("   ".join(f"{f'a {y[i]}, read as {probabilities[i].argmax()}':<16}" for i in wrong))
    for lines in zip(*(draw(x[i]) for i in wrong), strict=True):
        print("   ".join(lines))


if __name__ == "__main__":
    main()
