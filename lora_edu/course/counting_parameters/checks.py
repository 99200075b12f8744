"""Checks: counting shapes, saved heads, verdicts, budgets, memory."""

from collections.abc import Callable

import numpy as np

from lora_edu import counting
from lora_edu.course.checks import call, check


def _whole(value: object, name: str) -> int:
    assert isinstance(value, (int, np.integer)), f"{name} is a whole number, got {value!r}"
    return int(value)


@check
def check_lora_count(lora_count: Callable) -> None:
    """``lora_count(shapes, r)`` sums r (d + k) over (d, k)."""
    shapes, r = [(4096, 4096), (1024, 4096), (4096, 14_336)], 8  # q, v and down of Llama 3.1 8B
    got = _whole(call(lora_count, shapes=shapes, r=r), "the count")
    right = r * sum(d + k for d, k in shapes)
    rows, columns = (sum(side) for side in zip(*shapes, strict=True))
    names = {
        sum(d * k for d, k in shapes): "this is the full count, d k: the rank is missing",
        r * sum(d * k for d, k in shapes): "r d k: the strips have r d and r k numbers; add them",
        right // r: "this is for r = 1: multiply by r",
        r * (4096 + 4096): "only the first matrix is counted: return after the loop",
        r * 3 * (4096 + 4096): "the first shape is used for all: the second has 1,024 rows",
        r * rows: "this counts lora_B alone: lora_A has r k more",
        r * columns: "this counts lora_A alone: lora_B has r d more",
        r * 2 * rows: "2 d r holds for square matrices: use d + k",
        r * 2 * columns: "2 k r holds for square matrices: use d + k",
    }
    assert got not in names, names.get(got)
    assert got == right, f"for {shapes} and r = {r}: {right:,}, got {got:,}"


@check
def check_printed_counts(printed_counts: Callable) -> None:
    """``printed_counts(base, lora, head)`` is (lora + head, base + lora + head)."""
    base, lora, head = 1000, 30, 7
    got = call(printed_counts, base=base, lora=lora, head=head)
    assert isinstance(got, (tuple, list)) and len(got) == 2, f"return (trainable, all), got {got!r}"  # noqa: PT018
    trainable, everything = got
    assert (trainable, everything) != (base + lora + head, lora + head), "trainable comes first"
    assert trainable != lora, "the head trains too: add it to trainable"
    assert trainable != lora + 2 * head, "only the copy of the head trains, not the original"
    assert trainable == lora + head, f"trainable: {lora + head}, got {trainable!r}"
    assert everything != base + lora, (
        "base holds the frozen head; the copy that trains comes on top: all is too small"
    )
    assert everything != base + lora + 2 * head, "base holds the original already: add one copy"
    assert everything != base + lora - head, "the original stays: do not subtract it"
    assert everything == base + lora + head, f"all: {base + lora + head}, got {everything!r}"


@check
def check_judge(judge: Callable) -> None:
    """``judge(printed, unit, derived)``: rounds, else truncates, else differs."""
    cases = [
        (377, 100_000, 37_748_736, "rounds"), (188, 100_000, 18_874_368, "truncates"),
        (35, 10_000, 393_216, "differs"), (5, 10, 45, "rounds"), (4, 10, 49, "truncates"),
        (5, 10, 44, "differs"), (4, 10, 50, "differs"),
    ]  # fmt: skip
    for printed, unit, derived, right in cases:
        got = call(judge, printed=printed, unit=unit, derived=derived)
        asked = f"judge({printed}, {unit:,}, {derived:,})"
        assert got in ("rounds", "truncates", "differs"), f"{asked}: {got!r} is no verdict"
        assert not (got == "truncates" and right == "rounds"), f"{asked}: look for rounding first"
        assert got == right, (
            f"{asked}: {derived:,} is {derived / unit:g} units; that {right}, got {got!r}"
        )


@check
def check_adapter_bytes(largest_sum_of_ranks: Callable) -> None:
    """``largest_sum_of_ranks(budget, size)`` of GPT-3 adapters of ``size`` bytes a number."""
    one = 2 * 96 * 12_288
    for budget, size in [(25_000_000, 6), (25_000_000, 2), (35_000_000, 2), (one * 4, 4)]:
        got = call(largest_sum_of_ranks, budget=budget, size=size)
        asked, right = f"largest_sum_of_ranks({budget:,}, {size})", budget // (one * size)
        got = _whole(got, asked)
        assert got != budget // one or right == got, f"{asked}: each number takes {size} bytes"
        assert got != budget // (12_288 * 2 * size), f"{asked}: that is one layer; GPT-3 has 96"
        assert got != budget // (one // 2 * size), (
            f"{asked}: A and B have 12,288 numbers each per rank"
        )
        assert got <= right, f"{asked}: {got} takes {got * one * size:,} bytes: too many"
        assert got == right, f"{asked}: {got} fits, but {right} fits too"


@check
def check_training_bytes(training_bytes: Callable) -> None:
    """``training_bytes(frozen, trained)``: 2 frozen + 16 trained."""
    frozen, trained = 1000, 10
    got = _whole(call(training_bytes, frozen=frozen, trained=trained), "the number of bytes")
    plan = counting.training_memory(frozen, trained, dtypes=("float16", "float32", "float32"))
    names = {
        2 * frozen + 12 * trained: "a part with 4 bytes a trained number is missing: a weight, a "
        "gradient, Adam's two numbers",
        2 * frozen + 14 * trained: "the weight of a trained number takes 4 bytes too, not 2",
        2 * frozen + 8 * trained: "Adam's two numbers are missing",
        18 * frozen + 16 * trained: "frozen numbers have no gradient, and nothing for Adam",
        4 * frozen + 16 * trained: "frozen weights take 2 bytes, not 4",
        16 * trained: "the frozen weights are still in memory",
    }
    assert got not in names, names.get(got)
    assert got == sum(plan.values()), f"{sum(plan.values()):,} for 1,000 and 10, got {got!r}"
