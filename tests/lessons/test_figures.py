"""What a figure, or a helper of one, does not know is refused in one line, by its name."""

import re
from importlib import import_module

import numpy as np
import pytest

REFUSED = [
    ("first_words", "likelier", ("wolf", 1.0), "knob records no 'wolf', only 'grimm', 'pirate'"),
    ("first_words", "likelier", ("grimm", 7.0), "knob records no '7.0', only '-1.0', "),
    (
        "rank_and_svd",
        "film_of_turning",
        (np.eye(3),),
        "machine must hold 2 × 2 finite numbers, got",
    ),
    ("rank_and_svd", "film_of_turning", (np.full((2, 2), np.nan),), "finite numbers, got [[nan"),
    ("rank_and_svd", "film_of_pieces", (np.zeros((5, 4)),), "a number other than 0, got 20 zeros"),
    ("rank_and_svd", "film_of_pieces", (np.ones((6, 5, 3)),), "2 dimensions, got shape (6, 5, 3)"),
    ("rank_and_svd", "film_of_pieces", (np.full((3, 3), np.nan),), "finite"),
    ("learning_the_update", "lighting_up", (0,), "r must be from 1 to 1000, got 0"),
    ("learning_the_update", "lighting_up", (2.5,), "r must be an integer, got 2.5"),
    ("learning_the_update", "lighting_up", (5, 0.0), "start must be from 1e-09 to 5, got 0.0"),
    ("learning_the_update", "lighting_up", (5, "small"), "start must be a number, got 'small'"),
    ("learning_the_update", "lighting_up", (5, 1e-3, 1.0), "lr must be from 1e-06 to 0.02, got 1"),
    ("learning_the_update", "lighting_up", (5, 1e-3, 0.01, 0), "steps must be from 1 to 100000"),
    ("intrinsic_rank", "capacity", ("width=1 r=1",), "by_heart was tuned for no 'width=1 r=1'; it"),
    ("intrinsic_rank", "heights_of_the_update", ({},), "one to three, got 0"),
    ("intrinsic_rank", "heights_of_the_update", (dict.fromkeys("abcd", np.eye(2)),), "got 4"),
    ("merging", "rounding", ("bf16",), "dtype must be a floating-point type of torch, got 'bf16'"),
    (
        "real_model",
        "real_frontier",
        ("test", 3),
        "own must be a list of pairs (learned, kept), got",
    ),
    ("real_model", "real_frontier", ("test", [(0.1,)]), "own must be a list of pairs (learned, "),
    ("real_model", "real_frontier", ("tset",), "part must be one of test, validation, got 'tset'"),
    ("inside_the_update", "alike", ("same", 4), "matrix must be one of 0, 1, 2, 3, None, got 4"),
    ("inside_the_update", "held", (3,), ", got 'r=3'"),
    ("inside_the_update", "scaled", (0.001,), "lr must be one of "),
    ("language_model", "trade", ("half", 1e-3), "r=4, own answers, got 'half'"),
    ("language_model", "turned_down", ("half",), "r=4, own answers, got 'half'"),
    ("beyond_lora", "chosen", ("upside down", "lora"), "inverted, turned, minilm"),
    ("beyond_lora", "right", ("turned", "lora", 32), "is not recorded"),
    ("beyond_lora", "by_rank", ("turned", "tuned"), "its best alpha at each rank, got 'tuned'"),
    ("beyond_lora", "placed", ("everywhere",), "all, rank 20, got 'everywhere'"),
]


@pytest.mark.parametrize(("lesson", "name", "given", "message"), REFUSED)
def test_what_a_figure_does_not_know_is_refused_in_one_line(lesson, name, given, message):
    figures = import_module(f"lora_edu.course.{lesson}.figures")
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        getattr(figures, name)(*given)
