"""What a check of a GPU prints: a line as each check ends, and a table of them all."""

STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim", "not run": "yellow"}


def line(name, result):
    """Print one check as it ends; of values only what failed."""
    if result["section"] == "values" and result["status"] == "passed":
        return
    print(f"{result['status']:8s}{name}: {_told(result)}", flush=True)


def table(figures):
    """Print what was found, section by section; passed values in one line."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    device, versions = figures["device"], figures["versions"]
    drivers = ", ".join(f"{k} {device[k]}" for k in device if "driver" in k or "runtime" in k)
    console.print(f"{device['name']}, {device['multiprocessors']} multiprocessors, {drivers}")
    console.print(", ".join(f"{name} {number}" for name, number in versions.items()))
    shown = Table("check", "", "figures")
    quiet = 0
    for name, result in figures["checks"].items():
        if result["section"] == "values" and result["status"] == "passed":
            quiet += 1
            continue
        status = result["status"]
        shown.add_row(name, f"[{STYLES[status]}]{status}[/]", _escaped(_told(result)))
    console.print(shown)
    counts = ", ".join(f"{count} {status}" for status, count in figures["summary"].items())
    console.print(f"{counts}; {quiet} checks of values passed and are not shown")
    worst = _worst(figures["checks"])
    if worst:
        console.print(f"nearest to its tolerance: {worst}")


def _escaped(text):
    from rich.markup import escape

    return escape(text)


def _worst(checks):
    """Name the check of values that used the largest part of its tolerance."""
    used = {
        name: found["error"] / found["tolerance"]
        for name, found in ((name, result.get("figures", {})) for name, result in checks.items())
        if "tolerance" in found and "error" in found
    }
    if not used:
        return ""
    name = max(used, key=used.get)
    return f"{name}, {100 * used[name]:.0f} % of {checks[name]['figures']['tolerance']:g}"


def _told(result):
    parts = [f"{name} {_shown(value)}" for name, value in result.get("figures", {}).items()]
    return "; ".join([*result.get("error", ()), ", ".join(parts)]).strip("; ")


def _shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
