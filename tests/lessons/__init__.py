"""Answers to the exercises, right and wrong: one table for each lesson, ``SLUG.cases.CASES``.

    check → (a right answer, {a name of the mistake: (a wrong answer, what the message must say)})

An answer that is a tuple stands for several arguments of the check.
"""


def in_place(array, change):
    array += change
    return array


def loses_return(*_):
    """Compute something and forget to return it."""
