"""The site's reference: tables and entries of public names, made of signatures and docstrings.

The rule: `__init__.pyi` says what is public, the running package what it takes. A module that no
section holds comes last, under "More", so that none is left out.
"""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# {package: {section: modules}}: the order of the reference
SECTIONS = {
    "kernels": {
        "Products": "matrix fused cuda_products",
        "Activations": "activations rectifiers learned pieces",
        "Losses": "losses",
        "Normalizations": "batch_normalization normalization weight_normalization "
        "divisive_normalization power_normalization",
        "Dropout and random numbers": "masks dropouts weight_masks gaussians random_numbers",
        "Optimizers": "descent adaptive moments averaging clipping penalties",
        "Pictures and mixtures": "images resampling mixing",
        "Elementary functions": "elementary arithmetic",
        "Recording, threads, devices": "recording team device statistics",
        "Kernels of your own": "formulas loops operations launch",
    },
    "nn": {
        "Models": "module sequential layers residual",
        "Activations": "activations pieces",
        "Normalizations": "normalization row_normalization weight_normalization natural whitening "
        "folding",
        "Dropout": "dropouts dropconnect uncertainty",
        "Training": "training steps inference losses history",
        "Optimizers": "optimizers adaptive lbfgs clipping penalties",
        "Schedules": "schedules",
        "Callbacks and averages": "callbacks averaging logs",
        "Data and augmentation": "data datasets augmentation compositions",
        "Initialisation": "init",
        "Seeing inside": "inspection plots",
        "Pretraining, pruning, growing": "pretraining pruning growing masking",
        "Many nets": "many ensembles sweeps",
        "Njit code": "compiled",
        "Files and exports": "files numpy_export c_export onnx_export interchange",
        "scikit-learn": "estimators",
        "CUDA": "fusion device_nets",
    },
}
SUBMODULES = ("datasets", "init", "plots")  # of nn: their functions are entries of their own


@cache
def public_names(package):
    """Return {module: [public names]} of a package, as its __init__.pyi lists them."""
    text = (ROOT / package / "__init__.pyi").read_text(encoding="utf-8")
    found = {}
    for module, name in re.findall(r"^from \.(\w+) import (\w+) as", text, re.M):
        found.setdefault(module, []).append(name)
    for module in re.findall(r"^from \. import (\w+) as", text, re.M):
        found.setdefault(module, []).extend(
            f"{module}.{name}" for name in _defined(package, module)
        )
    return found


def _defined(package, module):
    """The public functions of a module, in its own order."""
    nodes = _tree(package, module).body
    return [n.name for n in nodes if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]


def sections(package):
    """Return {section: [(module, name)]} of all public names; unknown modules come last."""
    names, done = public_names(package), {}
    for section, modules in SECTIONS[package].items():
        done[section] = [
            (m, n) for m in modules.split() for n in sorted(names.get(m, []), key=_key)
        ]
    held = {module for modules in SECTIONS[package].values() for module in modules.split()}
    rest = [(m, n) for m, listed in names.items() if m not in held for n in listed]
    return done | ({"More": rest} if rest else {})


def _key(name):
    """A backward stands after its forward."""
    return name.removesuffix("_backward"), name.endswith("_backward")


@cache
def thing(package, name):
    """Return what a public name is."""
    import importlib

    found = importlib.import_module(f"fonio.{package}")
    for part in name.split("."):
        found = getattr(found, part)
    return found


def signature(package, name):
    """Return the call as it is written, or "" where there is none."""
    found = thing(package, name)
    if not callable(found):
        return ""
    try:
        told = str(inspect.signature(found))
    except ValueError:
        return ""
    for pattern, short in (
        (r"<class 'numpy\.(\w+)'>", r"np.\1"),
        (r"<class '[\w.]*?(\w+)'>", r"\1"),
        (r"<function (\w+) at \w+>", r"\1"),
        (r" -> .*$", ""),
    ):
        told = re.sub(pattern, short, told)
    return name.split(".")[-1] + told


def paragraphs(docstring):
    """Return the paragraphs of a docstring, code blocks among them as they are."""
    return inspect.cleandoc(docstring or "").split("\n\n")


def shapes(docstring):
    """Return what a kernel's docstring tells of its arrays, in one line, or ""."""
    for part in paragraphs(docstring)[1:]:
        line = " ".join(part.split())
        told = re.match(r"\w+(, \w+)* [(\[]", line) and re.search(r" -> |; |\([A-Z.]", line)
        if told and not part.startswith(" "):
            return re.split(r"\. (?=[A-Z])", line)[0]  # a source may follow
    return ""


def escape(text):
    """Keep Markdown from reading what a docstring means as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"[*_<>\[\]|]", lambda m: f"&#{ord(m[0])};", part)
        for part in parts
    )


def linked(text):
    """Make links of arXiv's numbers."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def table(package, modules, up=""):
    """Return a table of the public names of modules: name, what it computes, shapes.

    up: the path from the page to the site's root.
    """
    lines = ["| | what it computes | shapes |", "|---|---|---|"]
    for module in modules:
        if module not in public_names(package):
            raise ValueError(f"the package {package} has no public module {module}")
        for name in sorted(public_names(package)[module], key=_key):
            doc = thing(package, name).__doc__ if callable(thing(package, name)) else ""
            first = " ".join(paragraphs(doc)[0].split())
            where = f"{up}api/{package}.md#{anchor(name)}"
            arrays = shapes(doc) if package == "kernels" else ""
            cells = (f"[`{name}`]({where})", linked(escape(first)), _code(arrays))
            lines.append("| " + " | ".join(cells) + " |")
    if all(line.endswith("|  |") for line in lines[2:]):  # no shapes: two columns
        lines = [re.sub(r"\|[^|]*\|$", "|", line) for line in lines]
    return "\n".join(["<div class='names' markdown>\n", *lines, "\n</div>"])


def _code(text):
    return f"`{text}`".replace("|", "\\|") if text else ""


def anchor(name):
    """The anchor of an entry."""
    return name.replace(".", "-")


def reference(package):
    """Return the page of a package: an entry for each public name."""
    title = {"kernels": "fonio.kernels", "nn": "fonio.nn"}[package]
    lines = [f"# {title}\n", f"Every public name of `{title}`, from its docstring.\n"]
    for section, names in sections(package).items():
        lines.append(f"## {section}\n")
        lines += [entry(package, module, name) for module, name in names]
    return "\n".join(lines)


def entry(package, module, name):
    """Return the heading, signature, docstring and methods of a name."""
    found = thing(package, name)
    line = line_of(package, module, name.split(".")[-1])
    source = f"../source/{package}/{module}.md#__codelineno-0-{line}"
    lines = [f"### `{name}` {{ #{anchor(name)} }}\n", f"[source]({source}){{ .source }}\n"]
    told = signature(package, name)
    if told:
        lines.append(f"```python\n{wrapped(told)}\n```\n")
        lines.append(body(found.__doc__, package == "kernels"))
    else:
        lines.append(f"{_of_data(package, name)}\n")
    if isinstance(found, type):
        lines += methods(found)
    return "\n".join([*lines, ""])


def _of_data(package, name):
    """What a public name that is no function or class holds."""
    found = thing(package, name)
    return f"A {type(found).__name__} of {len(found)}: " + ", ".join(f"`{key}`" for key in found)


def wrapped(told, width=78):
    """Break a signature over lines where it is long."""
    if len(told) <= width:
        return told
    head, rest = told.split("(", 1)
    lines, line = [f"{head}("], "   "
    for part in re.split(r", (?![^(\[{]*[)\]}])", rest[:-1]):
        if len(line) + len(part) > width:
            lines.append(line)
            line = "   "
        line += f" {part},"
    return "\n".join([*lines, line, ")"])


def body(docstring, of_kernel):
    """Return a docstring as Markdown: code blocks stay, a kernel's shapes become code."""
    told, done = shapes(docstring) if of_kernel else "", []
    for part in paragraphs(docstring):
        if part.startswith("    "):
            done.append(part)
        elif told and " ".join(part.split()).startswith(told):
            rest = " ".join(part.split())[len(told) :].lstrip(". ")
            done += [f"`{told}`", linked(escape(rest))]
        else:
            done.append(linked(escape(part)))
    return "\n\n".join(done) + "\n"


def methods(kind):
    """Return a list of a class's own methods and properties that have a docstring."""
    lines = []
    for name, value in vars(kind).items():
        if name.startswith("_") and name != "__call__":
            continue
        function = value.fget if isinstance(value, property) else value
        doc = inspect.getdoc(function) if callable(function) else None
        if doc is None or not inspect.isfunction(function) or not function.__doc__:
            continue
        call = "" if isinstance(value, property) else _call(function)
        first = " ".join(paragraphs(doc)[0].split())
        lines.append(f"- `{name}{call}`: {linked(escape(first))}")
    return ["", *lines] if lines else []


def _call(function):
    told = re.sub(r"^\(self(, )?", "(", str(inspect.signature(function)))
    return re.sub(r" -> .*$", "", told)


@cache
def _tree(package, module):
    return ast.parse((ROOT / package / f"{module}.py").read_text(encoding="utf-8"))


def line_of(package, module, name):
    """Return the line in which a module defines a name."""
    for node in ast.walk(_tree(package, module)):
        if getattr(node, "name", None) == name:
            return node.lineno
        if isinstance(node, ast.Assign) and name in (getattr(t, "id", "") for t in node.targets):
            return node.lineno
    return 1
