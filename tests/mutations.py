"""How strong are the tests? Break the package in many small ways: each break must fail a test.

    python tests/mutations.py                    every break, about 15 minutes on two cores
    python tests/mutations.py --only WORD ...    those whose name holds one of the words
    python tests/mutations.py --jobs N           N at a time (2)

A break is a line of ``BREAKS``: the slip of a learner or of a maintainer, made in a copy of the
project, in which only that module's own tests run. First the copy as it is has to pass them. The
exit code is 1 when a break survives: then the tests are too weak, and it is they that need work.

Left out are the two tests that compare what is committed, figures and records, with the code:
whoever edits draws and records anew, and then they know nothing of what is right.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RENEWED = (
    "tests/course/test_figures.py::test_committed_figures_are_what_the_code_would_draw",
    "tests/course/test_experiments.py::test_a_record_is_fresh_and_complete",
)
SECONDS = 900  # for the tests of one break; on a quiet machine they take a few
# Each run is a fork of one process that has loaded what takes long, and nothing of the project.
# (Not so on a Mac, whose libraries do not outlive a fork, nor on Windows, which has none.)
CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(["torch", "transformers", "peft", "sklearn.datasets", "jupytext"])


class Break(NamedTuple):
    """In ``file``, ``old`` (which stands there once) becomes ``new``; ``tests`` have to see it."""

    name: str
    file: str
    tests: tuple[str, ...]
    old: str
    new: str


def breaks() -> list[Break]:
    """Return the table, one row for each break; the name starts with the module's."""
    rows = []
    for (file, *tests), changes in BREAKS.items():
        module = Path(file).with_suffix("").as_posix().removeprefix("lora_edu/")
        for what, (old, new) in changes.items():
            rows.append(Break(f"{module}: {what}", file, tuple(tests), old, new))
    return rows


def copy_project(to: Path) -> Path:
    """Copy what the tests need: no history, no environment, no caches, no copies of learners."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "mine", "*.egg-info", "build", "dist")
    return Path(shutil.copytree(ROOT, to, ignore=ignored))


def run_pytest(copy: Path, tests: tuple[str, ...], log: Path) -> None:
    """Run tests in a copy, in a process of their own; its exit code is pytest's."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = sys.path[0] = str(copy)
    # A break may leave size and second of its file as they were: then old bytecode would count.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take longer to load than most tests
    import pytest

    import lora_edu

    assert Path(lora_edu.__file__).parent == copy / "lora_edu", "not the copy is tested"
    plain = ["-p", "no:cacheprovider", "-o", "addopts=", "--import-mode=importlib"]
    skip = ["-m", "not slow and not long", *(f"--deselect={name}" for name in RENEWED)]
    code = pytest.main(["-x", "-q", *plain, *skip, *tests])
    found = subprocess.check_output(
        [sys.executable, "-c", "import lora_edu as e; print(e.__file__)"]
    )
    assert Path(found.decode().strip()).parent == copy / "lora_edu", "nor in processes of the tests"
    sys.exit(code)


def failed_test(copy: Path, tests: tuple[str, ...]) -> str | None:
    """Run tests in a copy; return the first that fails, None if all pass.

    Raises
    ------
    RuntimeError
        pytest could not run them: that tells nothing of the tests.
    """
    log = copy.parent / "log"
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)  # examples that failed in another break
    process = CONTEXT.Process(target=run_pytest, args=(copy, tests, log))
    process.start()
    process.join(SECONDS)
    process.kill()
    said = log.read_text(encoding="utf-8")
    if process.exitcode == 0:
        return None
    failed = re.search(r"(?m)^(?:FAILED|ERROR) \S*::(\S+)", said)  # or a fixture of it
    if process.exitcode != 1 or failed is None:
        raise RuntimeError(f"pytest did not run: exit code {process.exitcode}\n{said[-3000:]}")
    return failed[1]


def broken(copy: Path, row: Break) -> str | None:
    """Make one break in a copy, run its tests, mend it; return the test that saw it."""
    path = copy / row.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(row.old) != 1:
        raise ValueError(f"{row.name}: {row.old!r} stands {whole.count(row.old)} times in the file")
    try:
        path.write_text(whole.replace(row.old, row.new), encoding="utf-8")
        return failed_test(copy, row.tests)
    finally:
        path.write_text(whole, encoding="utf-8")


def results(rows: list[Break], jobs: int) -> Iterator[tuple[str, bool, str, float]]:
    """Yield (what was run, whether that is well, what was seen, seconds), the whole copy first."""
    files = sorted({name for row in rows for name in row.tests})
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder, ThreadPoolExecutor(jobs) as do:
        free: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            free.put(copy_project(Path(folder).resolve() / str(number) / "project"))

        def timed(row: Break | None, tests: tuple[str, ...]) -> tuple[str | None, float]:
            copy, start = free.get(), time.perf_counter()
            try:
                seen = failed_test(copy, tests) if row is None else broken(copy, row)
            finally:
                free.put(copy)
            return seen, time.perf_counter() - start

        for name, (seen, seconds) in zip(
            files, do.map(lambda name: timed(None, (name,)), files), strict=True
        ):
            if seen:
                raise RuntimeError(f"{seen} fails before anything is broken")
            yield name, True, "passes unbroken", seconds
        for row, (seen, seconds) in zip(
            rows, do.map(lambda row: timed(row, row.tests), rows), strict=True
        ):
            yield row.name, seen is not None, f"caught by {seen}" if seen else "SURVIVED", seconds


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 when a break survives."""
    parser = argparse.ArgumentParser(description="Break the package; each break must fail a test.")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="breaks with these in their name")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at a time (default: 2)")
    options = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    words, start = options.only or [""], time.perf_counter()
    rows = [row for row in breaks() if any(word in row.name for word in words)]
    if not rows:
        parser.error(f"no break has {' or '.join(words)} in its name")
    survived = 0
    for name, well, seen, seconds in results(rows, options.jobs):
        survived += not well
        print(f"{seconds:5.1f} s  {name:<64} {seen}", flush=True)
    print(f"{len(rows)} breaks, {survived} survived, {time.perf_counter() - start:.0f} s")
    return 1 if survived else 0


# (file, its tests ...) → what goes wrong: (as it is, broken)
BREAKS: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {
    ("lora_edu/counting.py", "tests/core/test_counting.py"): {
        "lora_A is not counted": (
            'return at_least_one("r", r) * (d + k)',
            'return at_least_one("r", r) * d',
        ),
        "the freedom of M is r, not r squared": ("return both - index(r) ** 2", "return both - r"),
        "(B A) x costs nothing to form": (
            "return formed + dense if form_delta",
            "return dense if form_delta",
        ),
        "a site of adapters has one bias": (
            'at_least_one("sites", sites) * (2 * width * r + r + width)',
            'at_least_one("sites", sites) * (2 * width * r + width)',
        ),
        "tied weights are counted twice": (
            "weight = 0 if self.tied else self.out_features",
            "weight = self.out_features",
        ),
        "all-linear takes the head too": (
            'if m.kind == "linear"]}',
            'if m.kind in ("linear", "head")]}',
        ),
        "proj matches q_proj": ('f".{n}".endswith(f".{t}")', "n.endswith(t)"),
        "Conv1D lies the other way round": (
            '(k, d) = "linear", module.weight.shape',
            '(d, k) = "linear", module.weight.shape',
        ),
        "dora has a magnitude for each column": (
            '"dora": both + d,',
            '"dora": both + index(in_features),',
        ),
        "a saved tied head costs nothing": ("._replace(tied=False).parameters", ".parameters"),
        "bytes are rounded down": ("return ceil(Fraction(", "return int(Fraction("),
        "frozen weights have gradients": (
            '"gradients": bytes_of(trained, dtypes[1])',
            '"gradients": bytes_of(frozen + trained, dtypes[1])',
        ),
        "double quantisation is counted once": ("Fraction(32, 64 * 256)", "Fraction(32, 64)"),
        "a tied bias is counted twice": (
            "if id(p) not in seen}",
            'if id(p) not in seen or n == "bias"}',
        ),
        "a weight made of others is counted beside them": (
            'tied, bias = "weight" not in new',
            'tied, bias = "weight" in own and "weight" not in new',
        ),
        "other numbers of a layer are forgotten": ("more=sum(new.values()))", "more=0)"),
        "families whose experts PEFT adapts otherwise are passed over": (
            'if family in _data()["converted"]:',
            "if family is True:",
        ),
        "any family is refused": ('if family in _data()["converted"]:', "if family:"),
        "what is saved whole is adapted too": (
            'found = {name: m for name, m in found.items() if f".{saved}."',
            'found = {name: m for name, m in found.items() if f"/{saved}/"',
        ),
        "head saves masthead from being adapted": (
            'if f".{saved}." not in f".{name}."}',
            "if saved not in name}",
        ),
        "all-linear may be nothing": (
            "if not names:",
            'if not names and wanted != "all-linear":',
        ),
        "what is tied inside of what is saved counts twice": (
            'if saved and hasattr(source, "named_modules"):',
            "if False:",
        ),
        "layers without end": ("if many > 10_000:", "if many > 20_000:"),
        "fewer layers than none": ("_whole(key, config[key])", "int(config[key])"),
        "a width of nothing": ("at_least_one(f, config[f])", "config[f]"),
        "any word is a yes": (
            "held = config[tied] if",
            "held = bool(config[tied]) if",
        ),
    },
    ("lora_edu/memory.py", "tests/core/test_cli.py"): {
        "heads that cannot share": ("shared, int) and heads % shared", "shared, int) and False"),
        "a default goes unsaid": ("and key not in given\n", "and False\n"),
        "a slip of the pen goes unsaid": ("if near and key not in known", "if False and key"),
    },
    ("lora_edu/lowrank.py", "tests/core/test_lowrank.py"): {
        "the split is not balanced": (
            "return root[:, None] * Vt, U * root",
            "return S[:, None] * Vt, U",
        ),
        "the core is turned over": ("R_B @ R_A.T, ndim=2", "R_A @ R_B.T, ndim=2"),
        "a share that is reached is not enough": (
            "energy * cumulative[-1]))",
            'energy * cumulative[-1], side="right"))',
        ),
        "energy is the sum of sigma": ("np.cumsum(S**2)", "np.cumsum(S)"),
        "the stable rank is the nuclear one": (
            "np.sum(_singular_values(singular_values) ** 2)",
            "np.sum(_singular_values(singular_values))",
        ),
        "phi is over the larger subspace": ("np.minimum(i, j)", "np.maximum(i, j)"),
        "phi sums along one axis only": (
            "np.cumsum(np.cumsum((V_1.T @ V_2) ** 2, axis=0), axis=1)",
            "np.cumsum((V_1.T @ V_2) ** 2, axis=1)",
        ),
        "phi takes arbitrary directions too": ("[: np.linalg.matrix_rank(A)]", ""),
        "amplification against all of W0": (
            "own := np.linalg.norm(U.T @ (weight / size) @ Vt.T)",
            "own := np.linalg.norm(weight / size)",
        ),
        "squares may overflow": ("return S / S[0] if S[0] > 0 else S", "return S"),
        "a huge W0 overflows": (
            "size = np.abs(weight).max()",
            "size = np.float64(weight.any())",
        ),
        "a huge update overflows": (
            "np.linalg.norm(S / S[0]) / own) * (float(S[0]) / float(size))",
            "np.linalg.norm(S) / own) / float(size)",
        ),
        "nothing over nothing is a number": ("if not size or not (own", "if not (own"),
        "an infinite product is decomposed": (
            '_array("lora_B @ lora_A", R_B @ R_A.T, ndim=2)',
            "R_B @ R_A.T",
        ),
        "an overflow is warned of as well": (
            'np.errstate(over="ignore", invalid="ignore")',
            "np.errstate()",
        ),
        "a singular value may be infinite": ('_array("S", S[:r], ndim=1)', "S[:r]"),
        "energies are added up in single precision": (".astype(np.float64))[::-1]", ")[::-1]"),
        "tiny directions are none": ("A / (np.abs(A).max(initial=0) or 1)", "A / 1"),
        "of zeros no direction is known": ("max(initial=0) or 1)", "max(initial=0))"),
    },
    ("lora_edu/reference.py", "tests/core/test_reference.py"): {
        "NaN is a number": ("if not np.isfinite(array).all():", "if False:"),
        "bytes wrap at 256": (
            "array.astype(np.result_type(array, np.float32), copy=False)",
            "array",
        ),
        "half precision stays half": (
            "np.result_type(array, np.float32)",
            "np.result_type(array, np.float16)",
        ),
        "forward forgets scaling": ("+ scaling * (h @ B.T)", "+ h @ B.T"),
        "scaling takes W0 along": (
            "x @ W0.T + scaling * (h @ B.T)",
            "scaling * (x @ W0.T + h @ B.T)",
        ),
        "the bias is dropped": ("return y if bias is None else", "return y if True else"),
        "the gradient of A forgets scaling": ("scaling * (G @ B)", "(G @ B)"),
        "the gradient of B forgets scaling": ("scaling * (G.T @ h)", "G.T @ h"),
        "x gets no gradient through A": ("G @ W0 + grad_h @ A", "G @ W0"),
        "the gradient of x is flat": ("grad_x.reshape(x.shape)", "grad_x"),
        "merge subtracts": ("W0 + delta_weight(A, B, scaling)", "W0 - delta_weight(A, B, scaling)"),
        "merge changes W0 itself": (
            "return W0 + delta_weight(A, B, scaling)",
            "W0 += delta_weight(A, B, scaling)\n    return W0",
        ),
        "rank 0 is let through": ('lengths.get("r") == 0', 'lengths.get("r") == -1'),
    },
    ("lora_edu/layers.py", "tests/core/test_layers.py"): {
        "alpha times r": ("lora_alpha / (math.sqrt", "lora_alpha * (math.sqrt"),
        "rsLoRA divides by r": ("(math.sqrt(r) if use_rslora else r)", "r"),
        "the base learns too": ("base.requires_grad_(False)", "base"),
        "both factors start random": (
            "nn.init.zeros_(self.lora_B)",
            "nn.init.kaiming_uniform_(self.lora_B, a=math.sqrt(5))",
        ),
        "half precision for the factors": (
            "dtype = torch.promote_types(weight.dtype, torch.float32)",
            "dtype = weight.dtype",
        ),
        "dropout after training": (
            "self.lora_dropout, self.training)  # (..., k)",
            "self.lora_dropout)  # (..., k)",
        ),
        "dropout on the base's input as well": (
            "y = self.base(x)  # (..., d)\n        x = F.dropout("
            "x.to(self.lora_A.dtype), self.lora_dropout, self.training)  # (..., k)",
            "x = F.dropout(x, self.lora_dropout, self.training)\n"
            "        y, x = self.base(x), x.to(self.lora_A.dtype)",
        ),
        "merged layers train": ("torch.is_grad_enabled() and learns:", "False:"),
        "merge subtracts": ("_add(layers, 1, ", "_add(layers, -1, "),
        "unmerge adds": ("_add(layers, -1, ", "_add(layers, 1, "),
        "merge forgets scaling": (".mul_(layer.scaling), alpha=sign)", ", alpha=sign)"),
        "the update is rounded before it is added": (
            ".mul_(layer.scaling), alpha=sign)",
            ".mul_(layer.scaling).to(weight.dtype), alpha=sign)",
        ),
        "NaN is merged": (
            "or torch.isfinite(layer.weight).all()",
            "or True",
        ),
        "what only may overflow is refused": ("or torch.isfinite(layer.weight).all()", ""),
        "the bound of what is finite is too high": (
            "torch.finfo(W0.dtype).max / 2",
            "torch.finfo(W0.dtype).max * 2",
        ),
        "the bound of what is finite leaves out W0": ("bound = W0.norm() + ", "bound = "),
        "the bound of what is finite leaves out B": (" * A.norm() * B.norm()", " * A.norm()"),
        "what is finite in float32 is finite in float16": (
            "(weight + self.delta_weight()).to(weight.dtype)",
            "(weight + self.delta_weight())",
        ),
        "merging twice": (
            "        if layer.merged:\n            raise",
            "        if False:\n            raise",
        ),
        "unmerge takes the factors of now": (
            "A, B = self._merged or (self.lora_A, self.lora_B)",
            "A, B = self.lora_A, self.lora_B",
        ),
        "what is merged changes with the factors": (
            "[(layer.lora_A.clone(), layer.lora_B.clone())",
            "[(layer.lora_A, layer.lora_B)",
        ),
        "unmerging twice": ("if not all(layer.merged for layer in layers):", "if False:"),
        "a pruned weight is merged": (
            "if own is None or own.is_inference()",
            "own = layer.base.weight\n        if own.is_inference()",
        ),
        "half precision for the update": (
            "dtype = torch.promote_types(self.lora_A.dtype, torch.float32)",
            "dtype = self.lora_A.dtype",
        ),
        "the weight of a merged layer counts the update twice": (
            "return weight if self.merged else (weight",
            "return (weight",
        ),
        "the weight of a half-precision layer is single": (
            "self.delta_weight()).to(weight.dtype)\n\n",
            "self.delta_weight())\n\n",
        ),
        "who computes with the layer's weight gets no bias": (
            "return self.base.bias",
            "return None",
        ),
        "a saved merged layer holds the update": (
            "if self.merged:\n            weight =",
            "if False:\n            weight =",
        ),
        "a saved merged layer is of another dtype": (
            ".detach().to(weight.dtype)  # (d, k)",
            ".detach()  # (d, k)",
        ),
        "a subclass of nn.Linear is one": (
            "type(module) is nn.Linear or",
            "isinstance(module, nn.Linear) or",
        ),
        "any class of the name is Conv1D": (
            "(type(module).__module__, type(module).__name__) == home",
            "type(module).__name__ == home[1]",
        ),
        "complex weights are real": ("if base.weight.dtype not in REAL:", "if False:"),
    },
    ("lora_edu/layers.py", "tests/core/test_variants.py"): {
        "a part of W0 passes for it": (
            'if self.init_lora_weights == "pissa" and not self.merged:',
            "if False:",
        ),
        "PiSSA's whole W0 is refused": (
            'self.init_lora_weights == "pissa" and not self.merged:',
            'self.init_lora_weights == "pissa":',
        ),
        "a variant does not say what its start was": (
            'return {"init_lora_weights": self.init_lora_weights}',
            "return {}",
        ),
    },
    ("lora_edu/layers.py", "tests/promises/test_atomic.py"): {
        "modules stay as a failure left them": (
            "for part in (vars(m), m._modules, m._parameters)]",
            "for part in (vars(m), m._parameters)]",
        ),
        "parameters stay as a failure left them": (
            "for part in (vars(m), m._modules, m._parameters)]",
            "for part in (vars(m), m._modules)]",
        ),
        "attributes stay as a failure left them": (
            "for part in (vars(m), m._modules, m._parameters)]",
            "for part in (m._modules, m._parameters)]",
        ),
        "Ctrl + C is no failure": ("except BaseException:", "except Exception:"),
        "a failure leaves all frozen": (
            "parameter.requires_grad_(requires_grad)",
            "parameter.requires_grad_(False)",
        ),
        "memory for the first update is enough for all": (
            "if kind not in largest or len(largest[kind]) < size:",
            "if kind not in largest:",
        ),
        "memory is asked for when half is merged": ("torch.mm(B, A, out=out)", "torch.mm(B, A)"),
        "Ctrl + C merges half of a model": (
            "    with uninterrupted():\n        for layer",
            "    if True:\n        for layer",
        ),
    },
    ("lora_edu/_fused.py", "tests/core/test_layers.py"): {
        "no dropout": (
            "dropout = layer.training and layer.lora_dropout > 0",
            "dropout = False",
        ),
        "hooks of the base are skipped": ("base._forward_hooks or base._forward_pre_hooks or ", ""),
        "a frozen base for certain": (
            ' or weight.requires_grad or getattr(bias, "requires_grad", False)',
            "",
        ),
        "a weight of any kind": ("type(weight) not in _PLAIN or ", ""),
        "an input of any kind": ("odd = type(x) not in _PLAIN or ", "odd = "),
        "a base of any kind": ("if replaced or odd", "if odd"),
        "autocast in the backward pass, too": (
            "if _C._is_any_autocast_enabled():  # all",
            "if False:  # all",
        ),
        "autocast makes numbers of integers": (" and x.is_floating_point()", ""),
        "few samples: the gradient of B forgets scaling": (
            "torch.addmm(lora_B, G.T, h_t.T, beta=0, alpha=ctx.scaling)",
            "torch.addmm(lora_B, G.T, h_t.T, beta=0)",
        ),
        "one token: no scaling": ("F.linear(h, lora_B), alpha=scaling", "F.linear(h, lora_B)"),
        "without a bias there is a start": ("(x.new_empty(1), 0)", "(x.new_ones(1), 1)"),
        "with a bias there is no start": ("else (bias, 1)", "else (bias, 0)"),
        "no tensor gets its shape back": (
            "y.resize_(*x.shape[:-1], len(weight)), h_t",
            "y, h_t",
        ),
        "y is a view": (
            "y.resize_(*x.shape[:-1], len(weight)), h_t",
            "y.view(*x.shape[:-1], len(weight)), h_t",
        ),
        "the gradient of x forgets the base": (".addmm_(G, weight)", ""),
        "the second derivative takes h for a constant": (
            "if torch.is_grad_enabled():  # double backward",
            "if False:  # double backward",
        ),
        "autocast rounds float64": (" and x.dtype != torch.float64", ""),
        "compiled as it is": ("traced = is_compiling() or ", "traced = "),
        "traced as it is": (" or _C._get_tracing_state() is not None", ""),
        "the transforms of torch.func go by": (
            "_C._are_functorch_transforms_active() or ",
            "",
        ),
        "forward-mode AD goes by": (" or forward_ad._current_level >= 0", ""),
        "no features are some": ("not (layer.in_features and layer.out_features)", "False"),
        "the meta device has numbers": ("x.is_meta or ", ""),
        "hooks on all modules are skipped": (
            "hooked(base) or any(_ON_ALL):",
            "hooked(base):",
        ),
        "a replaced forward of the base is skipped": (' or "forward" in base.__dict__', ""),
        "backward hooks of the base are skipped": (" or base._backward_hooks\n", "\n"),
        "backward pre-hooks of the base are skipped": (
            "hooks or base._backward_pre_hooks or",
            "hooks or",
        ),
        "a pruned factor is none": ("except KeyError:", "except AttributeError:"),
        "factors of another dtype are taken": (
            "x.dtype == weight.dtype == lora_A.dtype == lora_B.dtype",
            "x.dtype == weight.dtype",
        ),
    },
    ("lora_edu/adapt.py", "tests/core/test_adapt.py"): {
        "the rest of the model learns": ("model.requires_grad_(False)", "model"),
        "what is saved whole stays frozen": (").requires_grad_(True)", ")"),
        "rank_pattern is ignored": (
            "_first_match(config.rank_pattern, name, config.r, until)",
            "config.r",
        ),
        "the last pattern counts": (
            "for pattern, value in patterns.items():",
            "for pattern, value in reversed(list(patterns.items())):",
        ),
        "all-linear takes the head too": (
            "{n: named[n] for n in counting.targets(model, wanted, saved) if n in named}",
            "{n: m for n, m in named.items() if layers.is_linear(m)}",
        ),
        "proj matches q_proj": (
            'ends = tuple(f".{name}" for name in wanted)',
            "ends = tuple(wanted)",
        ),
        "a new layer is in training": ("layer.train(base.training)", "layer"),
        "merging half a model": (
            "layers.merge_layers([layer for layer in lora_layers(model).values() "
            "if not layer.merged])",
            "[layers.merge_layers([layer]) for layer in lora_layers(model).values() "
            "if not layer.merged]",
        ),
        "merge_and_unload loses the update": (
            "    _merge(model)\n    return unload",
            "    return unload",
        ),
        "a merged adapter is swapped": (
            '"""\n    _layers(model, merged=False)\n    own = adapter_tensors(model)',
            '"""\n    own = adapter_tensors(model)',
        ),
        "a tied weight is merged": (
            "if held[layers.dense_weight(layer.base).data_ptr() or id(layer.base.weight)] > 1:",
            "if False:",
        ),
        "no trained head in the adapter": (
            'tensors |= module.state_dict(prefix=f"{name}.")',
            "pass",
        ),
        "a layer in two places is adapted in one": ("if places[id(base)] > 1:", "if False:"),
        "a layer of a block in two places is refused": (
            "id(m) for parent in model.modules() for m in parent._modules.values()",
            "id(m) for _, m in model.named_modules(remove_duplicate=False)",
        ),
        "an attribute of the model's own is overwritten": (
            'if hasattr(model, "lora_config"):',
            "if False:",
        ),
        "any rank will do": ("if r > (most", "if False and r > (most"),
        "no rank above 1000": ("max(1000, d, k)", "max(1000, 0)"),
        "memory is taken for what does not fit": (
            '_fits(own, tensors.get(own), torch.empty(r, k, dtype=torch.float64, device="meta"))',
            "pass",
        ),
        "what lies in a module to save is adapted": (
            'f"{name}.".startswith(tuple(f"{other}." for other in saved))',
            "name in saved",
        ),
        "what lies in a named module to save is an error": (
            'if f".{other}." not in f".{n}."}',
            "}",
        ),
        "a saved head trains what it is tied to": (
            "copy.deepcopy(model.get_submodule(name))",
            "model.get_submodule(name)",
        ),
        "all-linear stays a riddle": (
            'if config.target_modules == "all-linear":  # resolved',
            "if False:  # resolved",
        ),
        "any type of number is swapped in": (
            "if tensor.dtype != own.dtype and not {tensor.dtype, own.dtype} <= {*layers.REAL}:",
            "if False:",
        ),
        "NaN is swapped in": ("if not torch.isfinite(tensor.to(own.dtype)).all():", "if False:"),
        "what has no numbers is swapped into": (
            "if name in own and own[name].is_meta:",
            "if False:",
        ),
        "a whole name is of every layer": ("if n in wanted or n in near}", "if n in near}"),
        "the last number of a name is that of its layer": (
            r're.match(r".*?\.[^.]*\.(\d+)\."',
            r're.match(r".*\.[^.]*\.(\d+)\."',
        ),
        "a name without a number is of every layer": (
            "(found is not None and int(found[1]) in numbers)",
            "found is None or int(found[1]) in numbers",
        ),
        "each name may take all the time there is": (
            "left = max(until - time.monotonic(), 0)",
            "left = PATIENCE",
        ),
        "unload leaves the configuration": ('vars(model).pop("lora_config", None)', "pass"),
    },
    ("lora_edu/adapt.py", "tests/promises/test_exchange.py"): {
        "DoRA is not switched on": ("if config.use_dora:", "if False:"),
        "PiSSA is not switched on": ('if config.init_lora_weights == "pissa":', "if False:"),
    },
    ("lora_edu/adapt.py", "tests/core/test_variants.py"): {
        "the LoRA in DoRA is a layer beside it": (" and module not in parts:", ":"),
    },
    ("lora_edu/adapt.py", "tests/promises/test_atomic.py"): {
        "Ctrl + C swaps half of an adapter": ("    with uninterrupted():", "    if True:"),
        "a count of batches is refused": (
            "if tensor.dtype != own.dtype and not {tensor.dtype, own.dtype} <= {*layers.REAL}:",
            "if not {tensor.dtype, own.dtype} <= {*layers.REAL}:",
        ),
        "unloading half of a model": (
            "    with all_or_nothing(model):\n        for name",
            "    if True:\n        for name",
        ),
    },
    ("lora_edu/adapt.py", "tests/core/test_checkpoint.py"): {
        "a failed load leaves layers": (
            "    with all_or_nothing(model):\n        model.requires",
            "    if True:\n        model.requires",
        ),
        "a regular expression may take its time": (
            "    except TimeoutError:",
            "    except RecursionError:",
        ),
    },
    ("lora_edu/checkpoint.py", "tests/core/test_checkpoint.py"): {
        "files are moved before both are there": (
            "os.replace(saving, directory / COMMITTED)  # from here on",
            "for file in sorted(saving.iterdir()):\n"
            "                    os.replace(file, directory / file.name)\n"
            "                saving.rmdir()  # from here on",
        ),
        "a killed save is not finished": (
            "        _finish(directory)\n        try:",
            "        try:",
        ),
        "a killed save is read in halves": (
            "(directory / COMMITTED / name, directory / name):",
            "(directory / name, directory / COMMITTED / name):",
        ),
        "what a killed save left stays": ("_clear(saving)  # what", "pass  # what"),
        "patterns are sorted": (
            "json.dumps(config, indent=2)",
            "json.dumps(config, indent=2, sort_keys=True)",
        ),
        "unknown options are ignored": (
            'elif value is not False and value not in ("", []):',
            "elif False:",
        ),
        "rsLoRA is not read": (
            "if name in known:",
            'if name == "use_rslora":\n            continue\n        if name in known:',
        ),
        "keys without PEFT's prefix": ('PREFIX = "base_model.model."', 'PREFIX = "model."'),
        "GPT-2's weights are said to lie as others'": (
            "any(layer.fan_in_fan_out for layer in adapt.lora_layers(model).values())",
            "False",
        ),
        "a load follows a link": ("if (directory / COMMITTED).is_symlink():", "if False:"),
        "a configuration of another save": (
            "if _read(directory, CONFIG) == text:",
            "if True:",
        ),
        "two keys are one tensor": ("if len(named) < len(tensors):", "if False:"),
        "the version of PEFT is an option": ("if name in INERT or value", "if value"),
        "how PEFT's factors started is an option": (
            "value in INERT_VALUES.get(name, [None])",
            "False",
        ),
        "a zero changes nothing": (
            'elif value is not False and value not in ("", []):',
            "elif value:",
        ),
        "a configuration without end": (
            "if name == CONFIG and path.stat().st_size > 10_000_000:",
            "if False:",
        ),
        "a nested configuration is no error of its file": (
            "(SafetensorError, ValueError, TypeError, KeyError, RuntimeError)",
            "(SafetensorError, ValueError, TypeError, KeyError)",
        ),
        "what is tied inside of what is saved is not written": (
            "tensor.contiguous().cpu().clone()",
            "tensor.contiguous().cpu()",
        ),
        "only its owner may read an adapter": ("path.chmod(0o644)", "path.chmod(0o600)"),
        "a file that was moved is missing": (
            "except FileNotFoundError:  # a save",
            "except RecursionError:  # a save",
        ),
    },
    ("lora_edu/checkpoint.py", "tests/promises/test_atomic.py"): {
        "a failed save leaves its files": (
            "            _clear(saving)\n            with",
            "            with",
        ),
        "Ctrl + C leaves files": ("        except BaseException:", "        except Exception:"),
        "a full disk is no OSError": (
            "except SafetensorError as error:  # a full",
            "except RecursionError as error:  # a full",
        ),
        "two save at once": ("    with alone(directory):", "    if True:"),
    },
    ("lora_edu/checkpoint.py", "tests/core/test_variants.py"): {
        "layers of two kinds are saved as one": (
            "if other.peft_options() != options:",
            "if False:",
        ),
    },
    ("lora_edu/files.py", "tests/core/test_files.py"): {
        "the file is written in place": ("os.replace(temporary, path)", "path.write_bytes(data)"),
        "the temporary file stays": ("        temporary.unlink(missing_ok=True)\n", ""),
        "signs of 8 bits steer a terminal": (r"\x7f-\x9f]", r"\x7f]"),
    },
    ("lora_edu/files.py", "tests/promises/test_atomic.py"): {
        "two are alone": ("fcntl.flock(handle, fcntl.LOCK_EX)", "pass"),
        "Ctrl + C is forgotten": ("    if came:", "    if False:"),
        "Ctrl + C is dead from then on": ("before or signal.SIG_DFL", "signal.SIG_IGN"),
        "another thread may not wait": ("except ValueError:  # not", "except TypeError:  # not"),
    },
    ("lora_edu/assets.py", "tests/core/test_assets.py"): {
        "the model of another file": ('made["from"] == asset.files', "True"),
        "an unpacked model is not checked": (
            'return made["files"] if',
            "return dict.fromkeys(MODEL) if",
        ),
        "a hash is not checked when fetched": (
            "if hashlib.sha256(data).hexdigest() != expected:",
            "if False:",
        ),
        "a hash is not checked when used": (
            "if expected is not None and sha256(where / file) != expected:",
            "if False:",
        ),
        "the folder fills before the eyes of others": (
            'ready = temporary / "ready"',
            "ready = where",
        ),
    },
    ("lora_edu/course/training.py", "tests/course/test_training.py"): {
        "gradients add up": ("optimizer.zero_grad()", "pass"),
        "validated in training": ("model.eval()", "model.train()"),
        "the model is left in training": ("model.train(mode)", "pass"),
        "the order is that of others": (", generator=self.generator)  # (n,)", ")  # (n,)"),
        "NaN steps on": ("if not math.isfinite(history.loss[-1]):", "if False:"),
    },
    ("lora_edu/course/datasets.py", "tests/course/test_datasets.py"): {
        "validation is the test": (
            "return Digits(train, *held_out)",
            "return Digits(train, held_out[1], held_out[1])",
        ),
        "one split for every seed": (
            "default_rng(split).permutation",
            "default_rng(0).permutation",
        ),
        "one split of posts for every seed": (
            "rng = np.random.default_rng(split)",
            "rng = np.random.default_rng(0)",
        ),
        "labels are shuffled by one seed": ("manual_seed(shuffle_labels)", "manual_seed(0)"),
        "turned the other way": ("rotate(x, degrees,", "rotate(x, -degrees,"),
        "every network is the same": ("torch.manual_seed(seed)", "torch.manual_seed(0)"),
        "a text in two parts": ("if text not in seen:", "if True:"),
        "posts are validated on training's": (
            'chosen["train"][: sizes[0]], chosen["train"][sizes[0] :]',
            'chosen["train"][: sizes[0]], chosen["train"][: sizes[1]]',
        ),
    },
    ("lora_edu/course/intrinsic.py", "tests/course/test_intrinsic.py"): {
        "columns of any length": ("(signs / signs.norm(dim=0).clamp(min=1))", "signs"),
        "one P for every seed": ("manual_seed(self.seed)", "manual_seed(0)"),
    },
    ("lora_edu/course/timing.py", "tests/course/test_timing.py"): {
        "one after the other": ("            shuffle(order)\n", ""),
        "seconds of a sample, not of a call": ("(clock() - start) / calls", "clock() - start"),
        "pairs are sorted": (
            "zip(self.seconds[name], self.seconds[reference], strict=True)",
            "zip(sorted(self.seconds[name]), sorted(self.seconds[reference]), strict=True)",
        ),
    },
    ("lora_edu/course/ledger.py", "tests/course/test_ledger.py"): {
        "what was fitted is tested": ('and not raw.get("fitted", False)', ""),
        "near misfits come first": ("key=lambda pair: -abs(", "key=lambda pair: abs("),
        "tables in any order": ("dict(sorted(its.items(), key=_in_order))", "its"),
        "a half does not round": (
            "if abs(derived - printed) <= last / 2",
            "if abs(derived - printed) < last / 2",
        ),
        "the verdict is the best": (
            "worst = max((q.verdict for q in quantities)",
            "worst = min((q.verdict for q in quantities)",
        ),
        "zeros after the point are not printed": (
            "10 ** (0 if decimals else len(digits)",
            "10 ** (len(digits)",
        ),
    },
    ("lora_edu/course/plots.py", "tests/course/test_plots.py"): {
        "each heat map has its own scale": ("vmin=-limit, vmax=limit, ", ""),
        "thousands with commas": ('.replace(",", "\\N{THIN SPACE}")', ""),
    },
    ("lora_edu/course/films.py", "tests/course/test_films.py"): {
        "captions are not escaped": (
            'html.escape(json.dumps(numbers["captions"]))',
            'json.dumps(numbers["captions"])',
        ),
        "an alt text in quotes": ("alt=html.escape(", "alt=("),
        "each frame is the first": ("show(i)", "show(0)"),
        "frames below each other": ("axis=1", "axis=0"),
        "a dot loses its colour": ("Image.Quantize.MAXCOVERAGE", "Image.Quantize.FASTOCTREE"),
        "the reader's style": ("    with plt.rc_context(STYLE):", "    if 1:"),
        "each moment is the first": ("(moment)", "(0)"),
        "no end of frames": ("<= MOST_FRAMES", "<= 99"),
    },
    ("notebooks/builder/page.py", "tests/builder/test_page.py"): {
        "a page may assert": ("isinstance(n, ast.Assert) or", ""),
        "imports are no machinery": (
            "if isinstance(node, (ast.Import, ast.ImportFrom)):",
            "if False:",
        ),
        "a record costs nothing": ("return taken or of_record", "return False"),
        "panels are visible": ('and "claims" not in tags(c)', ""),
        "blank lines are lines": ('r"(?m)^.*\\S"', 'r"(?m)^"'),
        "a vote is no question": ('("predict", "checks.vote")', '("predict",)'),
        "a question may print": ("asks(tree) != is_question(cell.source, tree)", "False"),
        "a question may answer": ("elif asks(tree) and gives_away(tree):", "elif False:"),
        "no panel is needed": ("!= section[-1:]:", "== [0]:"),
    },
    ("notebooks/builder/claims.py", "tests/builder/test_claims.py"): {
        "a claim may say anything": ('or plain(row["words"]) not in text', ""),
        "no panel is no matter": ("if not carried(cell):", "if False:"),
        "the file may differ": ("!= claims_of(notebook):", "== 0:"),
    },
    ("lora_edu/course/claims.py", "tests/course/test_claims.py"): {
        "a cell that was not run is a riddle": ("if isinstance(value, NameError)", "if False"),
        "twice the tolerance": (
            "within = 0.0 if exactly",
            "within = unit if exactly",
        ),
        "any tolerance": ("if not 0.0 <= within <= unit:", "if False:"),
        "the ends of an interval belong to it": ("least < value < most", "least <= value <= most"),
        "an error stops a learner": (
            "except Exception as error:  #",
            "except KeyError as error:  #",
        ),
        "a learner is stopped": ('os.environ.get("LORA_EDU_CLAIMS") == "strict" and', ""),
        "nobody is stopped": ('os.environ.get("LORA_EDU_CLAIMS") == "strict"', "False"),
        "the puzzle looks below": ("[:above]", ""),
        "the puzzle judges any run": ("if len(orders) < above or", "if len(orders) < above and"),
        "two are one": ("elif len(false) == 1:", "elif len(false) >= 1:"),
        "a truth is a number": ("if isinstance(value, bool):", "if False:"),
        "nothing is carried": ('{"lora_edu": {"claims": rows}}', '{"lora_edu": {"claims": []}}'),
    },
    ("lora_edu/course/figures.py", "tests/course/test_figures.py"): {
        "a new number is not drawn": ("all_anew or bool(_problems(folder, record))", "all_anew"),
        "two per cent are no change": ("RELATIVE_TOLERANCE = 1e-6", "RELATIVE_TOLERANCE = 2e-2"),
        "what is gone is no change": ("for key in {**old, **new}:", "for key in new:"),
        "a longer list is no change": ("and len(old) == len(new)", ""),
        "a new style draws nothing anew": ("or bool(_restyled(folder))", ""),
        "one figure's style is that of all": (
            '        write_whole(folder / "data" / "style.json"',
            '    write_whole(folder / "data" / "style.json"',
        ),
        "arrays are told": ("if not isinstance(value, np.ndarray)}", "}"),
        "what is drawn is not compared": ('"drawn": drawn}', '"drawn": {}}'),
        "rounding is recorded": ("0.0 if abs(value) <= rounding else ", ""),
        "a matrix by two of its columns": (
            "len(values) // SAMPLES | 1",
            "max(len(values) // SAMPLES, 1)",
        ),
        "every n-th number and no other": ("rounded(values.std())", "0.0"),
        "the reader's style": (
            "        with plt.rc_context(STYLE):\n            return",
            "        if 1:\n            return",
        ),
        "checking draws": (
            "records = [_record(entry, entry.numbers()) for entry",
            "records = [_record(entry, entry()[1]) for entry",
        ),
        "a print holds its date": ("metadata=UNDATED[kind]", "metadata={}"),
        "an SVG's ids are random": ('"svg.hashsalt": self.name, ', ""),
        "a publisher cannot take the PDF": (', "pdf.fonttype": 42', ""),
        "one figure leaves the gallery old": ("    if all(every):", "    if only is None:"),
        "orphans are welcome": ('if path.name not in known | {"style.json"}:', "if False:"),
    },
    ("lora_edu/course/matrix_example/figures.py", "tests/lessons/matrix_example/test_figures.py"): {
        "the factors are counted once": ("lora_A.size + lora_B.size", "lora_A.size"),
        "the scale of another matrix": ("np.std(W0 + delta)", "np.std(delta)"),
        "fewer waves than directions": ("np.arange(max(8, r))", "np.arange(8)"),
        "the work of A is that of B": ('"work_of_A": r * k', '"work_of_A": d * r'),
        "a direction is left out": ("np.cumsum([s * np.outer", "np.array([s * np.outer"),
    },
    ("lora_edu/course/rank_and_svd/figures.py", "tests/lessons/rank_and_svd/test_figures.py"): {
        "the error is the energy": (
            "np.sqrt(np.append(np.cumsum(energy[::-1])[::-1], 0) / energy.sum())",
            "np.append(np.cumsum(energy[::-1])[::-1], 0) / energy.sum()",
        ),
        "the output goes another way": (
            '(come_out, numbers["outputs"])',
            '(come_out, numbers["inputs"])',
        ),
        "a weave is the next one": ("Vt[r - 1]) for r", "Vt[r % rank]) for r"),
        "what is left is the picture": ('numbers["image"] - so_far', 'numbers["image"]'),
        "within 10 %": ("[:-1] > 0.01", "[:-1] > 0.1"),
        "the square shrinks as it turns": (
            "abs(c * down - s * across) < 25",
            "abs(down - s * across) < 25",
        ),
        "the chart runs ahead": ("counts[: i + 1]", "counts[: i + 2]"),
    },
    (
        "lora_edu/course/learning_the_update/figures.py",
        "tests/lessons/learning_the_update/test_figures.py",
    ): {
        "the word has other strengths": ("* (3, 2, 1)) @", "* (3, 1, 1)) @"),
        "the walk goes uphill": ("b - lr * error * a]", "b + lr * error * a]"),
        "A moves first": (
            "A, B = A - lr * B.T @ G, B - lr * G @ A.T",
            "A = A - lr * B.T @ G; B = B - lr * G @ A.T",
        ),
        "half is a third": ("height >= sigma / 2", "height >= sigma / 3"),
        "theory forgets the twice": (
            "np.log(4 * sigma / size) / (2 * sigma * lr)",
            "np.log(4 * sigma / size) / (sigma * lr)",
        ),
        "what never lights up did at once": ("else steps + 1)", "else 0)"),
    },
    (
        "lora_edu/course/learning_the_update/experiments.py",
        "tests/lessons/learning_the_update/test_figures.py",
    ): {
        "noise is never added": ("+ noise * error", "+ 0 * error"),
    },
    ("lora_edu/course/own.py", "tests/course/test_own.py"): {
        "the course's page writes": ('if folder.name == "mine"', "if True"),
        "tests write": ('and "LORA_EDU_CLAIMS" not in os.environ', "and True"),
        "an older file is lost": (
            'path.rename(path.with_name(f"lora-{number}.py"))',
            "path.unlink()",
        ),
        "decorators are left behind": ("[node, *node.decorator_list]", "[node]"),
        "stubs are kept": ("if _is_stub(source)]", "if False]"),
        "what the page has is forgotten": ("if not isinstance(value, ModuleType):", "if False:"),
    },
    (
        "lora_edu/course/counting_parameters/figures.py",
        "tests/lessons/counting_parameters/test_figures.py",
    ): {
        "misprints have dots too": (
            "tested = [q for q in entry.quantities if q.tested]",
            "tested = list(entry.quantities)",
        ),
        "bars stand side by side": ("bottom += heights", "bottom += 0"),
        "the talk counts two matrices a layer of rank 4": ("[1, 1], 6)", "[4, 4], 6)"),
    },
    ("lora_edu/course/checks.py", "tests/course/test_checks.py"): {
        "what is not offered is a guess": ("if options and not _offered", "if False and _offered"),
        "a right answer in capitals is wrong": (
            "same = _plain(guess) == _plain(actual) or",
            "same = _plain(guess) == actual or",
        ),
        "letters have an order": ("or (letters and", "or (False and"),
        "an article counts": ('r"^(?:the|an?) "', 'r"^the "'),
        "no mistake is named": (
            "        assert not np.isclose(value, other), why.strip()",
            "        assert np.isclose(value, value), why.strip()",
        ),
        "a half-given answer is none": ("if all(missing):", "if any(missing):"),
        "changed arguments go unseen": (
            "assert _equal(value, arguments[name]), (",
            "assert True, (",
        ),
        "a changed list goes unseen": ("all(map(_equal, one, other))", "True"),
        "fractions are no numbers": (
            'if array.dtype.kind in "biuf" or fractions:',
            'if array.dtype.kind in "biuf":',
        ),
        "lines count from nought": (
            "line - own.co_firstlineno + 1} of your",
            "line - own.co_firstlineno} of your",
        ),
        "NumPy's line is the learner's": (" or code.co_filename != own.co_filename:", ":"),
        "a guess ten times too large is near": (
            "if 0.99 <= ratio <= 1.01:",
            "if 0.99 < ratio < 10.1:",
        ),
    },
    ("lora_edu/course/matrix_example/checks.py", "tests/course/test_checks.py"): {
        "the shape of an example is never square": (
            "[(4, 4, 4, 4), (6, 5, 2, 3)]",
            "[(6, 5, 2, 3)]",
        ),
        "a pair may keep numbers": ("assert same == 0, f", "assert same >= 0, f"),
        "the gap is not looked at": ("~np.isclose(B @ A, HI)", "~np.isclose(B @ A, HI) & (HI > 0)"),
        "break-even saves": ("got * thick != full, (", "got != -1, ("),
        "a rank too few will do": ("if got == right:", "if got in (right, right - 1):"),
    },
    ("lora_edu/course/rank_and_svd/checks.py", "tests/course/test_checks.py"): {
        "thicker strips will do": ("elif r > least:", "elif r > 5:"),
        "a search may end early": ("((5, 5, *[4] * 40), 0.1)", "((5, 5, *[0] * 40), 0.1)"),
        "columns pass for axes": ("np.linalg.norm(matrix, axis=0)", "0 * right"),
        "a companion may cancel": ("assert both == r, (", "assert both >= 0, ("),
        "a multiple is another": ("> 1e-6 * np.linalg.norm(second), (", "> -1, ("),
    },
    ("lora_edu/course/learning_the_update/checks.py", "tests/course/test_checks.py"): {
        "A may move": ("assert np.allclose(got_A, right_A), (", "assert True, ("),
        "W0 may train": ("assert moved == 0, f", "assert moved >= 0, f"),
        "a strip may stand still": (
            "assert not torch.equal(getattr(layer, name), before[name]), (",
            "assert True, (",
        ),
        "equal rows will do": ("assert high == r, f", "assert high >= 0, f"),
        "merging in place goes unseen": (
            "assert torch.equal(layer.base.weight, W0), (",
            "assert True, (",
        ),
        "strips may be cleared": ("assert torch.equal(after, strips), ", "assert True, "),
        "full rank is never asked": ("(3, 1.08, 0.999, 0.93, 0.6)", "(3, 1.08)"),
    },
    ("lora_edu/course/intrinsic_rank/checks.py", "tests/course/test_checks.py"): {
        "two things may change": ("assert len(changed) == 1, (", "assert changed, ("),
        "too little rank will do": ('assert rank == r, f"', 'assert rank, f"'),
    },
    ("lora_edu/course/intrinsic_rank/figures.py", "tests/lessons/intrinsic_rank/test_figures.py"): {
        "the smallest rank is the best": ("    return max(tried, key", "    return min(tried, key"),
    },
    (
        "lora_edu/course/intrinsic_rank/experiments.py",
        "tests/lessons/intrinsic_rank/test_experiments.py",
    ): {
        "a cut ignores the inputs": ("torch.linalg.svd(delta @ x.T", "torch.linalg.svd(delta"),
        "bits are nats": (" / math.log(2)", ""),
        "all labels are one": ("y % classes)", "y % 1)"),
    },
    ("lora_edu/course/real_model/checks.py", "tests/course/test_checks.py"): {
        "no negative cosines": ("[[2, 0], [-1, 3], [-1, -2]]", "[[2, 0], [1, 3], [9, 2]]"),
        "twins may go": ("[[1, 0], [2, 0], [0, 1], [-1, 4]]", "[[1, 0], [9, 1], [0, 1], [-1, 4]]"),
        "a tolerance will do": ("([0.5, 0.504], [0.4, 0.403],", "([0.5, 0.9], [0.4, 0.8],"),
    },
    ("lora_edu/course/merging/checks.py", "tests/course/test_checks.py"): {
        "nothing is rounded": ("(W0 + delta).astype(np.float16) - stored", "(W0 + delta) - stored"),
        "a coin will do": ("assert np.abs(off[at]) < 0.035,", "assert np.abs(off[at]) < 0.5,"),
        "dice of one's own will do": ("assert np.any(again != got)", "assert np.any(again == got)"),
        "one throw for all will do": ("assert np.any(fell != fell[0])", "assert fell.size"),
        "levels may be left": ("assert not moved.any()", "assert moved.size"),
    },
    ("lora_edu/course/merging/figures.py", "tests/lessons/merging/test_figures.py"): {
        "the size of GPT-3's whole W": ("[6.91 / 61.95]", "[6.91 / 619.5]"),
        "a ratio is of any rounds": (
            "np.divide(seconds[name], next(iter(seconds.values())))",
            "np.divide(seconds[name], next(iter(seconds.values()))[::-1])",
        ),
    },
    ("lora_edu/course/merging/experiments.py", "tests/lessons/merging/test_figures.py"): {
        "arrived is a cosine": (
            "(kept * delta).sum() / delta.square().sum()",
            "(kept * delta).sum() / (kept.norm() * delta.norm())",
        ),
        "the error is that of the sum": ("(kept - delta).norm()", "(kept + delta).norm()"),
        "who stays has moved": ("(kept == 0).double().mean()", "(kept != 0).double().mean()"),
        "one step too few": ("- least) / (levels - 1)", "- least) / (levels - 2)"),
        "dice are no dice": ("torch.rand(place.shape, generator=draw)", "0.5"),
    },
    ("lora_edu/course/real_model/figures.py", "tests/lessons/real_model/test_figures.py"): {
        "chosen by too few": (
            'record("minilm")["chosen"][method])',
            'record("minilm_tuning")["chosen"][method])',
        ),
        "nothing was there before": ("own[1] - head[1]", "own[1]"),
        "better in one": (
            "if means[0] > learned and means[1] > kept:",
            "if means[0] > learned or means[1] > kept:",
        ),
        "beyond its best rate": ("[of] if lr <= chosen(of)]", "[of]]"),
        "runs in another order": (
            "return np.array([row[key] for row in rows if",
            "return np.array([row[key] for row in rows[::-1] if",
        ),
    },
    ("lora_edu/course/beyond_lora/checks.py", "tests/course/test_checks.py"): {
        "a frozen parameter may be optimised": (
            "assert name in trains or name not in got",
            "assert True or name not in got",
        ),
        "strips of any length will do": (
            "assert np.allclose(*lengths), f",
            "assert np.allclose(lengths[0], lengths[0]), f",
        ),
        "the rest may be anything": (
            'compare_named(rest, W0 - s * product, named, "rest")',
            'compare_named(rest, rest, named, "rest")',
        ),
    },
    (
        "lora_edu/course/beyond_lora/experiments.py",
        "tests/lessons/beyond_lora/test_experiments.py",
    ): {
        "the control moves the base": ("layer.base.weight -= layer.delta_weight()", "pass"),
        "rslora is plain lora": ('"use_rslora": kind == "rslora"', '"use_rslora": False'),
        "biases train": ('parameter.requires_grad_(name.endswith("weight"))', "pass"),
        "nf4 rounds nothing": (
            "weight.copy_(NF4.quantize(weight, double=True).dequantize())",
            "weight.copy_(weight)",
        ),
    },
    (
        "lora_edu/course/beyond_lora/figures.py",
        "tests/lessons/beyond_lora/test_figures.py",
    ): {
        "the worst setting is reported": (
            "return max(found, key=lambda one: round(found[one], 9))",
            "return min(found, key=lambda one: round(found[one], 9))",
        ),
        "the opponent is not tuned": (
            'found[kind, True] = right(task, kind) - right(task, "lora")',
            'found[kind, True] = right(task, kind) - right(task, "lora", ORIGINAL)',
        ),
        "other lengths on the circle": (
            "turned = m * tips / np.linalg.norm(tips, axis=1, keepdims=True)",
            "turned = tips",
        ),
        "all runs collapse": ("< 0.5).sum())", "< 2).sum())"),
    },
    ("lora_edu/course/inside_the_update/checks.py", "tests/course/test_checks.py"): {
        "a strip of any shape": (
            'assert strip.shape == shape, f"{name} has shape',
            'assert strip.size, f"{name} has shape',
        ),
    },
    (
        "lora_edu/course/inside_the_update/experiments.py",
        "tests/lessons/inside_the_update/test_experiments.py",
    ): {
        "strips are turned one way": ("Q = Q * R.diagonal().sign()", "Q = +Q"),
        "an intruder has a sign": (".abs().amax(0)  # (k,)", ".amax(0)  # (k,)"),
        "without the strongest is with it": ("directions(*range(1, r))", "directions(*range(r))"),
        "a stranger is no stranger": (
            "return delta[rows][:, torch.randperm(delta.shape[1], generator=draw)]",
            "return delta",
        ),
    },
    (
        "lora_edu/course/inside_the_update/figures.py",
        "tests/lessons/inside_the_update/test_figures.py",
    ): {
        "a share of everything": ('/ (none - loss(voice, "all"))', "/ none"),
        "the price of the whole": (
            "for each in (price(voice, cut), prices.T))",
            'for each in (price(voice, "all"), prices.T))',
        ),
        "straight in the price": ("(np.sqrt(np.maximum(0, each))", "(np.maximum(0, each)"),
        "chance is the smaller": ("np.maximum.outer(", "np.minimum.outer("),
        "of the first run": ("np.exp(losses(words).mean(0))", "np.exp(losses(words)[0])"),
    },
    ("lora_edu/course/counting_parameters/checks.py", "tests/course/test_checks.py"): {
        "a budget that fits is never exact": ("(qv, 8 * 2 * sum(", "(qv, 9 + 8 * 2 * sum("),
        "nearly whole is whole": ("((8, 0), (9, 1), (3, -1))", "((8, 0), (9, 999), (3, -999))"),
    },
    ("lora_edu/memory.py", "tests/core/test_memory.py"): {
        "weights are kept for the backward pass": (
            "for at, t in kept.items() if at not in weights)",
            "for at, t in kept.items())",
        ),
        "views count each": ("t.untyped_storage().nbytes() for", "t.nbytes for"),
        "no loss": ('inputs["labels"] = tokens.clone()', "pass"),
        "gradients of an adapter in 16 bits": (
            "    types = (half, single, single)",
            "    types = (half, half, single)",
        ),
        "embeddings in 4 bits": (
            'for m in modules.values() if m.kind == "linear")',
            "for m in modules.values())",
        ),
        "no room is left": ("BESIDE[method] + sum", "sum"),
        "any length": ("and length > most", "and False"),
    },
    ("lora_edu/course/printouts.py", "tests/course/test_printouts.py"): {
        "a share is never wrong": ("if printout.share is None:", "if True:"),
        "any rank gives any count": ("and _gives(printed, r * both + more):", "and True:"),
        "magnitudes are forgotten": ('("dora", whole + rows)', '("dora", whole)'),
        "a head trains for nothing": ('("lora", whole)', '("lora", 0)'),
        "packed bases are unknown": (
            "return counting.base_parameters(modules), counting.packed_4bit_parameters(modules)",
            "return counting.base_parameters(modules), 0",
        ),
        "MLX counts adapters": ('if printout.tool == "MLX":  # whose', "if False:  # whose"),
        "MLX adapts all layers": ("*{16, 8, 4} - {blocks}", "*set()"),
        "what is unknown is false": ("if known else OPEN", "if known else FAILS"),
        "what is unusual holds": (
            "any(way.usual for way in ways)\n    word",
            "bool(ways)\n    word",
        ),
        "colours are read": ('re.sub(r"\\x1b\\[[0-9;]{0,9}m", "", text)', "text"),
        "all may be the base alone": ('            wrong = "nothing was added"\n', ""),
    },
    ("lora_edu/course/experiments.py", "tests/course/test_experiments.py"): {
        "every run is as recorded": ("sum(row == own.get(key)", "sum(row == row"),
        "no correction for many claims": (
            "min(1.0, left * tests[name].pvalue)",
            "tests[name].pvalue",
        ),
        "each claim is corrected alike": (
            "adjusted[name], left = last, left - 1",
            "adjusted[name] = last",
        ),
        "every seed is 0": (
            "for seed in seeds for method, lr in grid",
            "for seed in [0] for method, lr in grid",
        ),
        "deviation over n": (
            "_over_seeds(statistics.stdev, of)",
            "_over_seeds(statistics.pstdev, of)",
        ),
        "the twin is the run itself": ("functools.partial(run, **tuning)", "run"),
        "the twin has the seeds of the report": (
            "twin, version, choosing, tolerance",
            "twin, version, seeds, tolerance",
        ),
        "the worst rate is chosen": ("max(tried, key=rank)", "min(tried, key=rank)"),
        "of equal rates the last is chosen": (
            "max(tried, key=rank)",
            "max(reversed(tried), key=rank)",
        ),
        "runs of other arguments are used": (
            "({} if why else _by_key(lines[1:]))",
            "_by_key(lines[1:])",
        ),
        "what is done stays noted": ("        part.drop(keys)\n", ""),
        "what is done is run again": (
            "todo = [key for key in keys if key not in part.rows]",
            "todo = keys",
        ),
        "the seed is averaged": ("if column not in KEYS:", "if True:"),
        "a version means nothing": (
            '{"version": entry.version} | ',
            '{"version": content["version"]} | ',
        ),
        "an argument that is gone means nothing": ("[*now, *then]", "[*now]"),
        "a stale record loses its seeds": (
            'not run now"] if lost else []',
            'not run now"] if False else []',
        ),
        "what differs is written over": (
            'path.with_suffix(".new.json") if differ else path',
            "path",
        ),
        "five that lie close by chance rule": (
            "spread = max(spread, statistics.median(columns.get(at, [0.0])))",
            "pass",
        ),
        "a wild recording is its own excuse": (
            "spread = min(spread, spreads_now.get((key[:-1], at), spread))",
            "spread = max(spread, spreads_now.get((key[:-1], at), spread))",
        ),
        "other seeds are dropped": ("{**before, **rows}", "rows"),
        "a shard may lack a run": ("if missing := _missing(entry, rows):", "if False:"),
        "processes outlive the command": ("    os._exit(1)", "    pass"),
    },
    ("lora_edu/course/digits.py", "tests/course/test_digits.py"): {
        "biases are fine-tuned": (
            'parameter.requires_grad_(name.endswith("weight"))',
            "parameter.requires_grad_(True)",
        ),
        "the base is fine-tuned itself": (
            "model = copy.deepcopy(base)\n    if r",
            "model = base\n    if r",
        ),
        "the update has the other sign": ("(p - old[n])", "(old[n] - p)"),
        "rank 0 keeps a direction": (
            "if k == 0:\n        return model\n",
            "k = max(k, 1)\n",
        ),
        "one start for every seed": (
            "torch.manual_seed(seed)\n            scale",
            "torch.manual_seed(0)\n            scale",
        ),
    },
    ("lora_edu/cli.py", "tests/core/test_cli.py"): {
        "a closed pipe of Windows is an error": (
            '(EPIPE, (sys.platform == "win32") * EINVAL)',
            "(EPIPE,)",
        ),
        "a file that cannot be is a closed pipe": (
            'getattr(error, "filename", None) is None',
            "True",
        ),
        "bad input ends well": ("        return 2\n", "        return 0\n"),
        "a file steers the terminal": ("{shown(why)}", "{why}"),
        "the method is not passed on": ('"method": arguments.method,', '"method": "lora",'),
    },
    ("lora_edu/course/films.py", "tests/lessons/rank_and_svd/test_figures.py"): {
        "a learner's film is told as ours": ("if own else", "if False else"),
    },
    ("lora_edu/course/commands.py", "tests/core/test_cli.py"): {
        "a stale figure ends well": ("return 1 if problems else 0", "return 0"),
    },
    ("lora_edu/cli.py", "tests/core/test_assets.py"): {
        "wrong assets end well": ("return 1 if any(states) else 0", "return 0"),
    },
    ("lora_edu/quantize.py", "tests/core/test_quantize.py"): {
        "the nibbles change places": (
            "codes[::2] << 4 | codes[1::2]",
            "codes[1::2] << 4 | codes[::2]",
        ),
        "absmax without abs": ("absmax = blocks.abs().amax(1)", "absmax = blocks.amax(1)"),
        "the mean is forgotten": ("self.maxima * steps + self.mean", "self.maxima * steps"),
        "seven levels above": ("quantiles(7), quantiles(8)", "quantiles(7), quantiles(7)"),
        "bytes of the codes alone": (
            "(self.codes, self.maxima, self.steps, self.mean))",
            "(self.codes,))",
        ),
        "what float32 cannot hold becomes NaN": (
            "torch.isfinite(W.detach().float()).all()",
            "torch.isfinite(W.detach()).all()",
        ),
    },
    ("lora_edu/variants.py", "tests/core/test_variants.py"): {
        "DoRA's norm along the columns": (
            "norm = self.direction().norm(dim=1)",
            "norm = self.direction().norm(dim=0).mean().expand(len(self.magnitude))",
        ),
        "DoRA scales the bias": (
            "(y * scale + (1 - scale) * bias)",
            "(y * scale)",
        ),
        "LoRA+ speeds A up": ('name.endswith("lora_B")', 'name.endswith("lora_A")'),
        "PiSSA leaves W0": ("            layer.base.weight = rest\n", ""),
        "PiSSA lies the other way round in Conv1D": (
            "W = (W.T if layer.fan_in_fan_out else W)",
            "W = (W)",
        ),
        "a half-precision base becomes a single one": (
            "else W).to(layer.base.weight.dtype)",
            "else W)",
        ),
        "PiSSA has more rank than there is": (
            "if layer.r > (least := min(layer.out_features, layer.in_features)):",
            "if False:",
        ),
        "the length of V passes a gradient in its weight": (
            "with torch.no_grad():\n            norm",
            "if True:\n            norm",
        ),
        "DoRA counts a merged update twice": ("return W0 if self.lora.merged else W0", "return W0"),
        "DoRA is unloaded without its magnitudes": (
            "if self.lora.merged:\n            base.weight",
            "if False:\n            base.weight",
        ),
        "PiSSA is saved as plain LoRA": ('layer.init_lora_weights = "pissa"', "pass"),
        "DoRA is saved as plain LoRA": ('| {"use_dora": True}', ""),
        "DoRA's magnitude is not saved": (
            'self.lora.adapter_tensors() | {"lora_magnitude_vector": self.magnitude.detach()}',
            "self.lora.adapter_tensors()",
        ),
        "PiSSA forgets the scaling": (
            "root = (sigma[: layer.r] / layer.scaling).sqrt()",
            "root = sigma[: layer.r].sqrt()",
        ),
        "the adapter has no shortcut": ("return h + self.up(", "return self.up("),
    },
    ("lora_edu/variants.py", "tests/promises/test_atomic.py"): {
        "Ctrl + C splits half of a model": ("    with uninterrupted():", "    if True:"),
        "half of a model becomes DoRA": (
            "    with all_or_nothing(model):\n"
            "        for name, layer in lora_layers(model).items():\n"
            "            model.set",
            "    if True:\n"
            "        for name, layer in lora_layers(model).items():\n"
            "            model.set",
        ),
    },
    ("lora_edu/finetune.py", "tests/core/test_finetune.py"): {
        "texts held out are trained on": (
            '"validation" if row in data.held_out else "train"',
            '"train" if row in data.held_out else "train"',
        ),
        "an empty label passes": ("if not field[name].strip()]", "if False]"),
        "a text has two labels": ("if name != last[text]:", "if False:"),
        "checkpoints that are not whole": (
            "if not any(zipfile.ZipFile(",
            "if files or any(zipfile.ZipFile(",
        ),
        "another table is resumed": ("json.dumps(data.content)", "json.dumps([])"),
        "a row may be ragged": ("if len(row) != len(names):", "if len(row) < 2:"),
        "NUL is a letter": ('if "\\0" in "".join(row):', "if False:"),
        "weights of another shape are drawn anew": ("if other := sorted(", "if False and sorted("),
        "a model that cannot run is trained": (
            'model(torch.tensor([examples[0]["input_ids"]]))',
            "pass",
        ),
        "a text may have no token": (
            "if min(shortest, most) <= tokenizer.num_special_tokens_to_add():",
            "if False:",
        ),
        "what the model was trained for decides": (
            'how["problem_type"] = "single_label_classification"',
            "pass",
        ),
        "a decoder's states are logits": ("if isinstance(logits, tuple)", "if False"),
    },
    ("lora_edu/finetune.py", "tests/core/test_finetune_chat.py"): {
        "perplexity of the prompt too": (
            "tokens = int((labels[:, 1:] != -100).sum())",
            "tokens = labels.shape[1]",
        ),
        "what is cut is not counted": ("cut += len(ids) > most", "cut += 0"),
        "an answer may be missing": ('found[-1]["role"] != "assistant"', "False"),
        "a tab is a comma": (
            '"\\t" if Path(path).suffix.lower()',
            '"," if Path(path).suffix.lower()',
        ),
        "a tie is found after hours": (
            "    if options.merge:\n        adapt",
            "    if False:\n        adapt",
        ),
        "any role will do": ("not in ROLES]", "in ()]"),
    },
    ("lora_edu/chat.py", "tests/core/test_chat.py"): {
        "the question is learned": ("[-100] * len(question)", "question"),
        "no end token": ("if end not in answer and i + 1 == len(messages):", "if False:"),
        "padding is read": ("[0] * (longest - len(row))", "[1] * (longest - len(row))"),
        "the scale is forgotten": ("each[name][1] * scale", "each[name][1]"),
        "alpha is forgotten": ("layer.lora_B.detach() * layer.scaling", "layer.lora_B.detach()"),
        "a hook stays": ("hook.remove()", "pass"),
        "the code of a folder is run": (
            '"use_safetensors": True, "trust_remote_code": False',
            '"use_safetensors": True, "trust_remote_code": True',
        ),
        "what was said is forgotten": ('"content": "".join(said)', '"content": ""'),
    },
    ("lora_edu/course/language.py", "tests/course/test_language.py"): {
        "a state foretells itself": ("F.pad(labels[:, 1:], (0, 1)", "F.pad(labels[:, :], (0, 0)"),
        "the last layers twice": ("slice(0, first)", "slice(0, first + 1)"),
        "the norm comes twice": ("part.norm = nn.Identity()", "pass"),
        "the mean over batches": ('reduction="sum").item()', 'reduction="mean").item()'),
        "the order is always one": ("self.draw.shuffle(order)", "pass"),
        "a speech is cut in two": ("bool(whole and closed)", "bool(whole)"),
        "answers are mixed up": ("torch.tensor(order)[counted", "torch.arange(len(order))[counted"),
        "what was added stays": ("_put(model, before)", "pass"),
        "the end token comes all the same": ("pairs, ends=ends)\n    with", "pairs)\n    with"),
        "another model is not taught": ("adapted(model or base()[0]", "adapted(base()[0]"),
        "drawn twice as large": ("((B @ A).norm() /", "(2 * (B @ A).norm() /"),
    },
    ("lora_edu/course/first_words/checks.py", "tests/lessons/first_words/test_figures.py"): {
        "the others had the file": ('if who != "base"', 'if who == "base"'),
    },
    ("lora_edu/course/first_words/figures.py", "tests/lessons/first_words/test_figures.py"): {
        "less likely is likelier": ("np.exp(change)", "np.exp(-change)"),
    },
    (
        "lora_edu/course/first_words/experiments.py",
        "tests/lessons/first_words/test_experiments.py",
    ): {
        "a letter is a picture": (" and not sign.isalnum()", ""),
    },
    ("lora_edu/course/qr.py", "tests/course/test_qr.py"): {
        "A for B": ("data[i + 1 + long[K] : i + step], D)", "data[i + 1 : i + 1 + long[D]], D)"),
        "rank 2 loses a strip": ("A.numel() != K or B.numel() != D", "False"),
    },
    ("lora_edu/course/language_model/checks.py", "tests/course/test_checks.py"): {
        "a wrong label passes": ("assert labels[i] == right[i], (", "assert labels, ("),
    },
    ("lora_edu/course/language_model/figures.py", "tests/lessons/language_model/test_figures.py"): {
        "all boxes are filled": ('if label != -100 else "white"', 'if label else "white"'),
    },
    ("lora_edu/course/minilm.py", "tests/course/test_minilm.py"): {
        "padding is read": (
            "bias = (1 - mask[:, None, None].to(hidden))",
            "bias = (0 * mask[:, None, None].to(hidden))",
        ),
        "a layer too many below": ("Top(model, range(layer))", "Top(model, range(layer + 1))"),
        "the head starts alike": ("torch.manual_seed(seed)", "torch.manual_seed(0)"),
        "full fine-tuning of nothing": (
            "dense_weight(model.get_submodule(name)).requires_grad_(True)",
            "dense_weight(model.get_submodule(name)).requires_grad_(False)",
        ),
        "alpha is forgotten": ("lora_alpha=lora_alpha,", "lora_alpha=r,"),
        "a post is its own neighbour": (".fill_diagonal_(-2)", ""),
        "padding is averaged": ("embed(hidden, mask) * mask[..., None]", "embed(hidden, mask)"),
        "the update has the other sign": ("(new - old).detach()", "(old - new).detach()"),
        "the update is put on what was trained": (
            "W0 = dense_weight(base.get_submodule(name)).detach()",
            "W0 = dense_weight(model.get_submodule(name)).detach()",
        ),
        "padding has moments": ("shape[1]] == 1].double()", "shape[1]] > -1].double()"),
        "the mean stays": ("C - sums[n].outer(sums[n]) / rows[n]", "C"),
        "the weakest outputs": (".eigenvectors.flip(1)", ".eigenvectors"),
    },
    ("notebooks/builder/slides.py", "tests/builder/test_slides.py"): {
        "no slide begins": (
            'if "slide" in tags(cell):\n            found',
            'if "slides" in tags(cell):\n            found',
        ),
        "the answer stands there at once": ('" class=step" if found[-1] else ""', '""'),
        "code is cut within a docstring": (
            """.count('\"\"\"') % 2 == 0]""",
            """.count('\"\"\"') >= 0]""",
        ),
        "a class sees the code": ("cell.source if coded and", "cell.source if"),
        "what is said is shown": ('r"(?m)(?:^>.*\\n?)+"', 'r"(?m)(?:^.*\\n?)+"'),
    },
    ("notebooks/builder/sheets.py", "tests/builder/test_quiz.py"): {
        "signs of GIFT stand bare": ('r"\\\\\\1"', 'r"\\1"'),
        "an answer names no lesson": (
            "lessons[each.lesson].stem[:2]}, ",
            "lessons[each.lesson].stem[:0]}, ",
        ),
        "what is printed is Markdown": (
            '<div>{markdown(text)}</div>" for text in asks',
            '<div>{text}</div>" for text in asks',
        ),
    },
    ("notebooks/builder/quiz.py", "tests/builder/test_quiz.py"): {
        "no choice need be right": (".count(True) != 1", ".count(True) > 1"),
        "the right one is the first": (".index(True))", ".index(True) * 0)"),
        "an answer stands open": (
            "{labels['answer']}</summary>",
            "{labels['answer']}</summary></details>",
        ),
    },
    ("notebooks/builder/assignment.py", "tests/builder/test_assignment.py"): {
        "the release has the answers": ("SOLUTION.sub(without, cell.source)", "cell.source"),
        "hidden tests are seen": ('HIDDEN.sub("", ', '("" + '),
        "an answer is worth a point": ("if not solution:", "if solution:"),
    },
    ("notebooks/builder/webpage.py", "tests/builder/test_site.py"): {
        "claims stand on the page": ('if not {"claims", "quiz"} &', 'if not {"quiz"} &'),
        "the answer stands in the open": (
            'page.folded("predict", page.labels["answer"], hidden)',
            '"\\n\\n".join(hidden)',
        ),
        "what explains it does, too": ("[*hidden, first]", "[*hidden]"),
        "a check speaks to nobody": ('if "exercise" not in tags(cell):', "if cell:"),
        "any guess is right": ("if each == right else", "if each else"),
        "small numbers are nothing": ('f"{value:.12f}"', 'f"{value:.2f}"'),
        "pictures lose": ("lossless=True", "lossless=False, quality=10"),
        "the stills stand there as well": ("at + (3 if", "at + (1 if"),
        "formulas are code": ("lambda formula: said(formula[1])", "lambda formula: formula[1]"),
        "each wrong choice is right": ("if choice.right else ''}> ", "if choice else ''}> "),
    },
    ("notebooks/builder/stage.py", "tests/builder/test_site.py"): {
        "a link to nothing is none": ("if address is None:", "if False:"),
        "code is linked": ("fence[0]]", "self.links(fence[0], source, place, pictures)]"),
        "a translation has all lessons": (
            'language = "" if lesson in lessons(self.language) else "../en/"',
            'language = ""',
        ),
        "the proof is on the lesson's page": ('proof = cell.id == "know"', "proof = False"),
    },
    ("notebooks/builder/appendix.py", "tests/builder/test_site.py"): {
        "a billion is a million": ('"B": 1e9', '"B": 1e6, "b": 1e9'),
        "percents are whole": ("/ (100 if", "/ (1 if"),
        "all could have failed": ('"" if entry["could_fail"] else', '"" if True else'),
        "a claim is lost": ("rows(map(claimed, own))", "rows(map(claimed, own[1:]))"),
        "what to install comes first": (
            "[opening, explore, syllabus, begin.replace",
            "[opening, begin, explore, syllabus, begin.replace",
        ),
    },
    ("notebooks/builder/site.py", "tests/builder/test_site.py", "tests/builder/test_live.py"): {
        "places are not looked for": (
            "and unquote(parts.fragment) not in read[target].places",
            "and False",
        ),
        "another host may be asked": ('not in ("", "data")', 'not in ("", "data", "https")'),
        "any folder is replaced": ("if out.exists() and not", "if False and not"),
    },
    ("notebooks/builder/live.py", "tests/builder/test_live.py"): {
        "any file will do": ("if hashlib.sha256(data).hexdigest() != digest:", "if False:"),
        "the first cell comes later": ("insert(0,", "insert(9,"),
    },
    ("notebooks/builder/stubs.py", "tests/builder/test_stubs.py"): {
        "a stub says the answer": ('b"raise NotImplementedError"', 'b"return 0"'),
        "what is given is to be written": ("if GIVEN.match(rest[0]):", "if False:"),
        "columns are letters": ("self.data = text.encode()", 'self.data = text.encode("latin-1")'),
        "a comment in a body stays": (
            "while self.lines[above - 1].strip()[:1] in",
            "while self.lines[above - 1].strip() in",
        ),
    },
    ("notebooks/builder/source.py", "tests/builder/test_source.py"): {
        "a hint of nothing": (
            'if "hint" in tags(cell) and not before',
            'if "hint" in before and not before',
        ),
        "a number passes for an id": ("if not isinstance(name, str) or not", "if not"),
        "two cells with one id": ("if name in lines:", "if False:"),
        "the line above": (
            "            line += 1  # from here on",
            "            pass  # from here on",
        ),
        "a number without a reason": (" and isinstance(reason, str) and reason", ""),
    },
    ("notebooks/builder/clone.py", "tests/builder/test_clone.py"): {
        "the lab opens on nothing": ("if first.exists() else first", "if True else first"),
    },
    ("notebooks/builder/editions.py", "tests/builder/test_claims.py"): {
        "the answer stands open": ("            if answers(cell) and", "            if False and"),
        "what leads on is folded": (' and not cell.id.endswith("-text")', ""),
        "a section is folded": ("cell.source.startswith(another) or", "False or"),
    },
    ("notebooks/builder/editions.py", "tests/builder/test_execute.py"): {
        "the seed is ignored": ('f"SEED = {seed}"', '"SEED = 0"'),
        "solutions stand open": ("<details><summary>", "<details open><summary>"),
        "nbval compares timings": ("if UNSTABLE.intersection(tags(cell)):", "if False:"),
    },
    ("notebooks/builder/execute.py", "tests/builder/test_execute.py"): {
        "a solution that does not convince": (
            'if f"{exercise.check}: OK" not in said:',
            "if exercise.check not in said:",
        ),
        "stderr is let through": (
            'if output.get("name") == "stderr":\n                raise',
            "if False:\n                raise",
        ),
        "old outputs for new code": ("old is None or old.source != cell.source", "old is None"),
        "an old timing for new code": (
            "and old and old.source == cell.source:",
            "and old:",
        ),
        "an old digit for a new one": (
            'if "timing" in tags(cell) and old',
            'if {"timing", "approx"} & {*tags(cell)} and old',
        ),
        "a slider leaves its view": ("            cell.outputs = []", "            pass"),
        "a page that breaks a rule is built": (
            'raise BuildError("\\n".join(problems))',
            "pass",
        ),
    },
    ("notebooks/builder/own.py", "tests/builder/test_own.py"): {
        "a learner's copy is written over": ("if not os.path.lexists(copied):", "if True:"),
    },
    ("notebooks/builder/lint.py", "tests/builder/test_lint.py"): {
        "unrun cells are let through": ("if cell.execution_count != count:", "if False:"),
        "a number in the prose goes unseen": ("if value not in known:", "if False:"),
        "numbers of any section count": (
            "shown if has_code and position > 0 else everywhere",
            "everywhere",
        ),
        "a timing carries a number": ("if UNSTABLE.intersection(tags(cell)):", "if False:"),
        "a slider without a twin": ('if "live" in tags(cell) and (', "if False and ("),
        "an attribute that runs a script": ("|<details open>", "|<details [^>]*>"),
        "a link to a script": (
            "if match is None:\n        return False",
            "if match is None:\n        return True",
        ),
        "a definition of a link goes unseen": ("in references.values():", "in ():"),
    },
    ("notebooks/builder/translate.py", "tests/builder/test_translate.py"): {
        "a stale translation passes": ("if quoted != digest(said):", "if False:"),
        "a skeleton forgets what is there": ("if path.exists():", "if False:"),
        "a never form passes": ("if re.search(whole(form), plain):", "if False:"),
        "a lost formula passes": ("if lost := formulas(english) - formulas(text):", "if False:"),
        "the shorter term counts": ("key=len, reverse=True", "key=len"),
        "old tone marks pass": ("if old := OLD_TONES.search(prose):", "if False:"),
    },
    ("notebooks/builder/constraints.py", "tests/builder/test_constraints.py"): {
        "a version that PyPI has not": (
            "Version(distribution.version).public",
            "distribution.version",
        ),
        "what an extra needs is forgotten": ('("", *needed.extras)', '("",)'),
        "the project constrains itself": ("del versions[canonicalize_name(project)]", "pass"),
    },
    ("notebooks/build.py", "tests/builder/test_command.py"): {
        "some lessons speak for all": ("if not options.names:", "if True:"),
        "a refused lesson is spoken for": (" and None not in results", ""),
    },
}


if __name__ == "__main__":
    sys.exit(main())
