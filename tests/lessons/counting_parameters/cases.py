"""Answers to the exercises."""

from lora_edu.course.counting_parameters import checks

ONE = 2 * 96 * 12_288


def judge(printed, unit, derived):
    if abs(2 * (derived - printed * unit)) <= unit:
        return "rounds"
    return "truncates" if derived // unit == printed else "differs"


CASES = {
    checks.check_lora_count: (
        lambda shapes, r: r * sum(d + k for d, k in shapes),
        {
            "full": (lambda shapes, r: sum(d * k for d, k in shapes), "the rank is missing"),
            "no r": (lambda shapes, r: sum(d + k for d, k in shapes), "multiply by r"),
            "first only": (lambda shapes, r: r * sum(shapes[0]), "only the first matrix"),
            "first for all": (
                lambda shapes, r: 3 * r * sum(shapes[0]),
                "the second has 1,024 rows",
            ),
            "B only": (lambda shapes, r: r * sum(d for d, _ in shapes), "lora_B alone"),
            "A only": (lambda shapes, r: r * sum(k for _, k in shapes), "lora_A alone"),
            "square": (lambda shapes, r: 2 * r * sum(d for d, _ in shapes), "2 d r holds for"),
            "product": (lambda shapes, r: r * sum(d * k for d, k in shapes), "add them"),
            "a float": (lambda shapes, r: 1.0 * r, "is a whole number"),
            "twice": (lambda shapes, r: 2 * r * sum(d + k for d, k in shapes), "253,952, got"),
        },
    ),
    checks.check_printed_counts: (
        lambda base, lora, head: (lora + head, base + lora + head),
        {
            "one number": (lambda base, lora, head: lora, "return (trainable, all)"),
            "turned": (lambda b, n, h: [b + n + h, n + h], "trainable comes first"),
            "head frozen": (lambda b, lora, h: (lora, b + lora), "the head trains too"),
            "head twice": (lambda b, n, h: (n + 2 * h, b + n + h), "not the original"),
            "no copy": (lambda b, n, h: (n + h, b + n), "all is too small"),
            "two copies": (lambda b, n, h: (n + h, b + n + 2 * h), "add one copy"),
            "swapped out": (lambda b, n, h: (n + h, b + n - h), "do not subtract it"),
        },
    ),
    checks.check_judge: (
        judge,
        {
            "never truncates": (
                lambda p, u, x: "rounds" if judge(p, u, x) == "rounds" else "differs",
                "that truncates, got 'differs'",
            ),
            "always truncates": (lambda p, u, x: "truncates", "look for rounding first"),
            "always rounds": (lambda p, u, x: "rounds", "that truncates, got 'rounds'"),
            "a boolean": (lambda p, u, x: True, "is no verdict"),
            "equal only": (lambda p, u, x: "differs", "that rounds, got 'differs'"),
        },
    ),
    checks.check_adapter_bytes: (
        lambda budget, size: budget // (ONE * size),
        {
            "no bytes": (lambda b, s: b // ONE, "each number takes 6 bytes"),
            "one layer": (lambda b, s: b // (2 * 12_288 * s), "GPT-3 has 96"),
            "one factor": (lambda b, s: b // (ONE // 2 * s), "A and B have 12,288 numbers each"),
            "a float": (lambda b, s: b / (ONE * s), "is a whole number"),
            "one too many": (lambda b, s: b // (ONE * s) + 1, "too many"),
            "one too few": (lambda b, s: max(0, b // (ONE * s) - 1), "fits too"),
        },
    ),
    checks.check_training_bytes: (
        lambda frozen, trained: 2 * frozen + 16 * trained,
        {
            "one moment": (lambda f, t: 2 * f + 12 * t, "is missing"),
            "16-bit weight": (lambda f, t: 2 * (f + t) + 12 * t, "takes 4 bytes too"),
            "no Adam": (lambda f, t: 2 * f + 8 * t, "two numbers are missing"),
            "all train": (lambda f, t: 18 * f + 16 * t, "have no gradient"),
            "4 bytes": (lambda f, t: 4 * f + 16 * t, "take 2 bytes"),
            "no base": (lambda f, t: 16 * t, "still in memory"),
            "other": (lambda f, t: 1, "2,160 for 1,000 and 10"),
        },
    ),
}
