"""What was seen inside a model, step by step: arrays by layer, a table, a dictionary.

The rule: one shape for one pass and for a whole fit; the first axis of every array is the steps.
"""

import math

import numpy as np

STATISTICS = ("mean", "std", "min", "max", "zeros", "dead", "saturated")
NORMS = ("gradient_norm", "norm", "update_norm")
SIDES = ("activations", "gradients")


class Records:
    """Figures of layers and parameters at some steps (T of them).

    `records` holds "step" (T,); "activations" and "gradients": for each layer ("1 ReLU") mean, std,
    min, max (of finite elements), zeros (share of elements), dead (share of units that are 0 for
    the whole batch), saturated (share of elements within 1 % of the ends of a bounded activation,
    else NaN), each (T,), and histogram (T, bins) between min and max; "parameters": for each one
    gradient_norm, norm, update_norm and update_ratio = update_norm / norm, each (T,).
    """

    def __init__(self):
        self._parts = []

    def add(self, steps, layers, parameters):
        """Add what was seen at some steps.

        layers: {side: {name: (summaries (T, 7), histogram (T, B))}}; parameters: {name: (T, 3)}.
        """
        part = {"step": np.asarray(steps, np.int64)}
        for side in SIDES:
            part[side] = {name: _figures(*found) for name, found in layers[side].items()}
        part["parameters"] = {name: _norms(found) for name, found in parameters.items()}
        self._parts.append(part)

    @property
    def records(self):
        """All that was seen, as nested dictionaries of arrays."""
        if not self._parts:
            return {"step": np.zeros(0, np.int64), **{s: {} for s in (*SIDES, "parameters")}}
        return _join(self._parts)

    @property
    def steps(self):
        """The steps that were looked at, counted from 0."""
        return self.records["step"]

    def __len__(self):
        return len(self.steps)

    def to_dict(self):
        """Return all that was seen as lists and numbers, for JSON; what is no number is None."""
        return _plain(self.records)

    def table(self, at=-1):
        """Return one step's figures as tables for rich's print: layers, then parameters."""
        from rich.console import Group

        records = self.records
        if not len(records["step"]):
            raise ValueError("table: nothing was seen yet, expected at least one step")
        step = int(records["step"][at])
        tables = [_layer_table(records, at, step), _parameter_table(records["parameters"], at)]
        return Group(*(table for table in tables if table.row_count))

    def __repr__(self):
        records = self.records
        return (
            f"<{type(self).__name__} of {len(records['step'])} steps, "
            f"{len(records['activations'])} layers, {len(records['parameters'])} parameters>"
        )


def _figures(summaries, histogram):
    columns = np.asarray(summaries, np.float64).T
    return {**dict(zip(STATISTICS, columns, strict=True)), "histogram": histogram}


def _norms(found):
    columns = dict(zip(NORMS, np.asarray(found, np.float64).T, strict=True))
    with np.errstate(all="ignore"):
        return {**columns, "update_ratio": columns["update_norm"] / columns["norm"]}


def _join(parts):
    """Put arrays of the same name one behind the other."""
    if not isinstance(parts[0], dict):
        return np.concatenate(parts)
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list):
        return [_plain(item) for item in value]
    number = value.item() if isinstance(value, np.generic) else value
    return number if math.isfinite(number) else None


def _layer_table(records, at, step):
    from rich.table import Table

    table = Table(title=f"step {step}", title_justify="left")
    table.add_column("layer")
    for name in ("mean", "std", "zeros", "dead", "saturated", "gradient std"):
        table.add_column(name, justify="right")
    for name, found in records["activations"].items():
        cells = [f"{found[key][at]:.3g}" for key in ("mean", "std")]
        cells += [_share(found[key][at]) for key in ("zeros", "dead", "saturated")]
        gradient = records["gradients"].get(name)
        table.add_row(name, *cells, "-" if gradient is None else f"{gradient['std'][at]:.3g}")
    return table


def _parameter_table(parameters, at):
    from rich.table import Table

    table = Table("parameter")
    for name in ("norm", "gradient norm", "update / norm"):
        table.add_column(name, justify="right")
    for name, found in parameters.items():
        keys = ("norm", "gradient_norm", "update_ratio")
        values = (float(found[key][at]) for key in keys)
        table.add_row(name, *("-" if math.isnan(v) else f"{v:.3g}" for v in values))
    return table


def _share(value):
    return "-" if np.isnan(value) else f"{value:.1%}"
