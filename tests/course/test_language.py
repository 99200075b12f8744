"""The tools for a voice, on a tiny Llama and a tale of our own: no assets needed."""

import copy
import itertools
import random
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import llama
from transformers import DataCollatorForSeq2Seq

from lora_edu import assets, chat
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course import language

TALE = (
    "A fox met a goose by the pond. ‘Good day,’ said the fox, ‘where do you go?’ She did not "
    "answer.  ‘Ah!’ cried the fox--and that was all. The fox’s tail was long, long enough for two."
    "  ‘Come in, my friend, and sit down. You are late,’ said the fox."
)


RECIPE = {"first": 2, "modules": ("q_proj",), "r": 2, "lora_alpha": 4, "size": 4, "steps": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def base(monkeypatch, folder):
    """The tiny model and its tokenizer, in place of the chat model of the records."""
    found = chat.load(folder)
    monkeypatch.setattr(language, "base", lambda: found)
    return found


# -- texts --------------------------------------------------------------------------------------


TWO = "A fox met a goose by the pond. ‘Good day,’ said the fox, ‘where do you go?’"

PASSAGES = [
    ((7, 12, 99), TWO[:30], 4),
    ((7, 30, 8), TWO[:30], 3),  # others have sentences of nine words
]


@pytest.mark.parametrize(("words", "first", "runs"), PASSAGES)
def test_passages_are_whole_sentences_of_one_paragraph(monkeypatch, tmp_path, words, first, runs):
    """Of a table like that of the wheel: one tale of Taylor's, one of somebody else's."""
    rows = ["a\tTitle\tb\tContent", "", f"x\tHans in Luck\ty\t{TALE}", "x\tOther\ty\tNo. Not this."]
    (tmp_path / "grimm-tales.tab").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setattr(assets, "path", lambda name: tmp_path)
    found = language.passages(*words)
    assert found[0] == first
    assert len(found) == runs
    least, most, _ = words
    assert all(least <= len(run.split()) <= most for run in found)
    assert "‘Ah!’ cried the fox – and that was all." in " ".join(found)
    assert not any(run.endswith("sit down.") for run in found)  # a speech is not cut in two


def test_a_question_is_about_something_in_the_passage():
    passages = ["The fox met a goose. The goose was old.", "He said nothing."]
    (first, one), (second, other) = language.asked(passages, ["How are you?"], 0)
    assert [one, other] == passages
    assert first in [template.format("goose") for template in language.ASKED]
    assert second == "How are you?"


short, pirate = partial(language.shortened, most=5), language.pirate
REWRITTEN = [  # to whole sentences, and by rule
    (short, "Paris is big. It is old. It is", "Paris is big."),
    (short, "A list:\n1. one. two.", None),
    (pirate, "I'm sure you are fine!", "Arrr! I be sure ye be fine, matey!"),
    (pirate, "It's your ship and my king.", "Arrr! It be yer ship an' me king, matey!"),
]


@pytest.mark.parametrize(("rewrite", "answer", "said"), REWRITTEN)
def test_an_answer_is_shortened_or_retold(rewrite, answer, said):
    assert rewrite(answer) == said


@pytest.mark.parametrize("name", ["grimm", "pirate"])
def test_a_seed_redraws_parts_that_share_nothing(monkeypatch, name):
    greedy = {question: f"{question[:-1]} is good." for question in language.texts("questions")}
    monkeypatch.setattr(language, "results", lambda name: {"greedy": greedy})
    monkeypatch.setattr(language, "passages", lambda *_: [f"Passage {i}." for i in range(60)])
    recipe = {"sizes": (20, 5, 6), "words": (1, 9, 9), "retold": 30}
    one, again, other = (language.said(name, seed, recipe) for seed in (0, 0, 1))
    assert one == again != other
    answers = [answer for part in one for _, answer in part]
    assert len(answers) == len(set(answers))
    assert [len(part) for part in one] == ([20, 5, 6] if name == "grimm" else [48, 12, 12])


def test_the_base_s_own_answers_are_halved_anew_for_each_seed(monkeypatch):
    sampled = {f"Question {i}?": f"Answer {i}. " + "and so on " * 20 for i in range(11)}
    monkeypatch.setattr(language, "results", lambda name: {"sampled": sampled})
    mixed, measured = language.elsewhere(0)
    assert (len(mixed), len(measured)) == (5, 6)
    assert sorted(mixed + measured) == sorted(
        (q, a[: a.index(".") + 1]) for q, a in sampled.items()
    )
    assert language.elsewhere(0) == (mixed, measured) != language.elsewhere(1)


# -- what is computed once ----------------------------------------------------------------------


def conversations(n):
    """Questions and answers of different lengths."""
    draw = random.Random(0)
    return [("Hi" * draw.randint(1, 9), "well " * draw.randint(1, 9) + "!") for _ in range(n)]


def with_lora(model):
    """Put LoRA on the upper two of four layers, and let it do something."""
    targets = r"model\.layers\.[23]\..*_proj"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        add_lora(model, LoraConfig(target_modules=targets, r=2, lora_alpha=4))
        for layer in lora_layers(model).values():
            torch.nn.init.normal_(layer.lora_B, std=0.1)
    return model


def test_the_loss_is_that_of_transformers(base):
    model, fast = with_lora(base[0]), base[1]
    example = language.raw(fast, "A text without a question.")
    ids, labels = (torch.tensor([row]) for row in example)
    upper = language.Upper(model, 2)
    with torch.no_grad():
        expected = model(ids, labels=labels).loss.item()
    assert language.loss(upper, upper.keep([example])) == pytest.approx(expected, rel=1e-5)


def test_of_a_fact_only_the_last_word_counts(base):
    fast = base[1]
    ids, labels = language.raw(fast, "The capital of France is Paris", last=True)
    assert fast.decode(ids) == "The capital of France is Paris"
    assert fast.decode([label for label in labels if label != -100]) == " Paris"


def marked(lengths):
    """Examples of these lengths, whose states and labels are their numbers."""
    return [
        language.Kept(torch.full((n, 1), float(i)), torch.tensor([-100] + [i] * (n - 1)))
        for i, n in enumerate(lengths)
    ]


@given(st.lists(st.integers(2, 12), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 99))
def test_batches_hold_each_example_once_and_of_like_lengths(lengths, size, seed):
    likes = language.LikeLengths(marked(lengths), size, seed)
    batches = list(likes)
    assert len(batches) == len(likes) == -(-len(lengths) // size)
    found = sorted(int(states.flatten()[0]) for batch in batches for states in batch[0])
    assert found == list(range(len(lengths)))
    spans = sorted(sorted(counted.sum(1).tolist()) for _, counted, _ in batches)
    assert all(a[-1] <= b[0] for a, b in itertools.pairwise(spans))
    for states, counted, target in batches:
        numbers = torch.cat([s[c, 0] for s, c in zip(states, counted, strict=True)])
        assert numbers.tolist() == target.tolist()


def numbers(batches):
    return [[int(row[0, 0]) for row in states] for states, _, _ in batches]


def test_each_pass_puts_others_of_like_length_together():
    batches = language.LikeLengths(marked([4] * 20), 5, 0)
    first, second = ({frozenset(batch) for batch in numbers(batches)} for _ in range(2))
    assert first != second
    in_order = numbers(language.LikeLengths(marked([4] * 6), 3, None))
    assert in_order == [[0, 1, 2], [3, 4, 5]]


def test_the_quick_path_trains_as_the_whole_model_does(base):
    """On the same batches, in the same order, with the loss of transformers."""
    model, fast = with_lora(base[0]), base[1]
    whole = copy.deepcopy(model)
    examples = [language.example(fast, pair) for pair in conversations(12)]
    upper = language.Upper(model, 2)
    language.train(upper, upper.keep(examples), 1e-2, 0, {"size": 4, "steps": 6})

    trained = [p for p in whole.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    batches = language.LikeLengths(marked([len(ids) for ids, _ in examples]), 4, 0)
    for batch in numbers(batches) + numbers(batches):  # two passes of three batches
        rows = [dict(zip(("input_ids", "labels"), examples[i], strict=True)) for i in batch]
        optimizer.zero_grad()
        whole(**DataCollatorForSeq2Seq(fast)(rows)).loss.backward()
        optimizer.step()
    for one, other in zip(lora_layers(model).values(), lora_layers(whole).values(), strict=True):
        torch.testing.assert_close(one.lora_B, other.lora_B, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_rows_become_batches_each_once_and_what_fills_them_has_no_label(base, size):
    tokenizer, pairs = base[1], conversations(7)
    batches = language.batches(tokenizer, pairs, size, 0)
    assert [len(ids) for ids, _ in batches].count(size) == 7 // size
    found = []
    for ids, labels in batches:
        assert ids.shape == labels.shape
        for row, told in zip(ids.tolist(), labels.tolist(), strict=True):
            last = max(i for i, label in enumerate(told) if label != -100) + 1  # the end's label
            found.append((row[:last], told[:last]))
            assert set(row[last:]) <= {tokenizer.pad_token_id, *tokenizer("\n")["input_ids"]}
    assert sorted(found) == sorted(language.example(tokenizer, pair) for pair in pairs)
    if size == 1:
        again, other = (language.batches(tokenizer, pairs, 1, seed) for seed in (0, 1))
        torch.testing.assert_close(batches, again)
        assert [ids.tolist() for ids, _ in other] != [ids.tolist() for ids, _ in batches]


WRONG_ROWS = [
    ([("Who?",)], 1, r"a row must be a question and an answer, got \('Who\?',\)"),
    ([("Who?", 3)], 1, r"got \('Who\?', 3\)"),
    ([], 1, "pairs and size must be at least one, got 0 and 1"),
    ([("Who?", "I.")], 0, "pairs and size must be at least one, got 1 and 0"),
]


@pytest.mark.parametrize(("pairs", "size", "message"), WRONG_ROWS)
def test_a_wrong_row_is_named(base, pairs, size, message):
    with pytest.raises(ValueError, match=message):
        language.batches(base[1], pairs, size, 0)


# -- a voice is taught --------------------------------------------------------------------------


UPPER = [({}, ["2", "3"]), ({"layers": (3,)}, ["3"])]


@pytest.mark.parametrize(("layers", "adapted"), UPPER)
def test_a_recipe_adapts_the_upper_layers_from_its_seed(base, layers, adapted):
    model, again, other = (
        lora_layers(language.adapted(base[0], {**RECIPE, **layers}, seed)[0]) for seed in (3, 3, 4)
    )
    assert list(model) == [f"model.layers.{i}.self_attn.q_proj" for i in adapted]
    for name, layer in model.items():
        assert (layer.r, layer.scaling) == (2, 2)
        assert torch.equal(layer.lora_A, again[name].lora_A)
        assert not torch.equal(layer.lora_A, other[name].lora_A)
    with pytest.raises(ValueError, match="layers must be from 2 to 3, got 4"):
        language.adapted(base[0], {**RECIPE, "layers": (3, 4)}, 0)


def test_what_is_taught_is_learned_and_leaves_the_base_alone(base):
    before = copy.deepcopy(base[0].state_dict())
    pairs = conversations(8)
    adapter = language.taught(pairs, 1e-2, 0, RECIPE)
    probe = language.Probe(2, {"learned": pairs})
    loss = probe.loss("learned")
    with probe.adding(adapter):
        assert probe.loss("learned") < loss
    with probe.adding(adapter, 0.0):
        assert probe.loss("learned") == pytest.approx(loss)
    assert probe.loss("learned") == loss
    torch.testing.assert_close(base[0].state_dict(), before, rtol=0, atol=0)


def test_what_is_taught_depends_on_all_that_is_said(base):
    """On the seed of the order and of the strips, the end token, the model, and the start."""
    pairs, other = conversations(8), copy.deepcopy(base[0])
    for parameter in other.parameters():
        parameter.data *= 1.1
    ways = [{}, {}, {"seed": 1}, {"again": 1}, {"ends": False}, {"model": other}]
    taught = [language.taught(pairs, 1e-2, **{"seed": 0, "recipe": RECIPE, **way}) for way in ways]
    further = language.taught(pairs, 0.0, 0, RECIPE, start=taught[0])
    torch.testing.assert_close(further, taught[0])
    first, again, *others = ([B for _, B in adapter.values()] for adapter in taught)
    assert all(map(torch.equal, first, again))
    for found in others:
        assert not any(map(torch.equal, first, found))
    assert language.Probe(2, {}, other).model is other


def test_a_random_adapter_has_updates_of_equal_norm():
    adapter = {"q": (torch.randn(4, 9), torch.randn(7, 4))}
    one = language.products(adapter)["q"]
    other, again = (language.products(language.random_adapter(adapter, 0))["q"] for _ in range(2))
    torch.testing.assert_close(one.norm(), other.norm())
    assert (one - other).norm() > one.norm()
    assert torch.equal(other, again)
