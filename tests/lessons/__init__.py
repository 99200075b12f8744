"""Answers to the exercises, right and wrong: one table for each lesson, ``SLUG.cases.CASES``.

    check → {"OK": a right answer, what the message must say: a wrong answer, …}

An answer that is a tuple stands for several arguments of the check.
"""
