"""The tools for a voice, on a tiny Llama and a tale of our own: no assets needed."""

import copy
import itertools
import random
import re

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import llama
from torch.nn import functional as F  # noqa: N812

from lora_edu import assets, chat
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course import language
from lora_edu.course.training import fit

TALE = (
    "A fox met a goose by the pond. ‘Good day,’ said the fox, ‘where do you go?’ She did not "
    "answer.  ‘Ah!’ cried the fox--and that was all. The fox’s tail was long, long enough for two."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def tales(monkeypatch, tmp_path):
    """A table like that of the wheel: one tale of Taylor's, one of somebody else's."""
    rows = ["a\tTitle\tb\tContent", "", f"x\tHans in Luck\ty\t{TALE}", "x\tOther\ty\tNo. Not this."]
    (tmp_path / "grimm-tales.tab").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setattr(assets, "path", lambda name: tmp_path)


# -- texts --------------------------------------------------------------------------------------


def test_no_question_is_asked_twice_and_none_of_the_unseen_is_learned():
    everything = [q for name in ("questions", "elsewhere", "unseen") for q in language.texts(name)]
    assert len(everything) == len(set(everything)) == 140
    assert len(language.texts("unseen")) == 20


def test_passages_are_whole_sentences_of_one_paragraph(tales):
    assert language.passages(7, 12, 99) == [
        "A fox met a goose by the pond.",
        "‘Good day,’ said the fox, ‘where do you go?’",
        "‘Ah!’ cried the fox – and that was all.",
        "The fox’s tail was long, long enough for two.",
    ]
    assert language.passages(8, 30, 10)[0] == "A fox met a goose by the pond."
    whole = language.passages(15, 40, 99)[0]
    assert whole == "A fox met a goose by the pond. ‘Good day,’ said the fox, ‘where do you go?’"


def test_a_speech_is_not_cut_in_two(tales):
    for passage in language.passages(3, 30, 99):
        assert passage.count("‘") == len(re.findall(r"[.,!?]’", passage))
    assert not language._stands_alone("‘Come in, my friend.", 99)
    assert language._stands_alone("‘Come in, my friend. Sit down,’ said the fox.", 99)


def test_a_question_is_about_something_in_the_passage():
    passages = ["The fox met a goose.", "He said nothing."]
    (first, _), (second, _) = language.asked(passages, ["How are you?"], 0)
    assert first in [template.format("goose") for template in language.ASKED]
    assert second == "How are you?"


@pytest.mark.parametrize(
    ("answer", "short"),
    [
        ("Paris is big. It is old. It is", "Paris is big. It is old."),
        ("Paris.<|im_end|>", "Paris."),
        ("A list:\n1. one. two.", None),
        ("One two three four five six.", None),
        ("One. Two three four five six.", "One."),
    ],
)
def test_an_answer_is_shortened_to_whole_sentences(answer, short):
    assert language.shortened(answer, 5 if "six" in answer else 20) == short


@pytest.mark.parametrize(
    ("plain", "retold"),
    [
        ("The capital of France is Paris.", "Arrr! The capital o' France be Paris, matey!"),
        ("I'm sure you are fine!", "Arrr! I be sure ye be fine, matey!"),
        ("It's your ship and my king.", "Arrr! It be yer ship an' me king, matey!"),
        ("Going is living.", "Arrr! Goin' be livin', matey!"),
    ],
)
def test_a_pirate_speaks_by_rule(plain, retold):
    assert language.pirate(plain) == retold


def test_what_goes_round_in_circles():
    assert language.loops("and the king said " * 4)
    assert not language.loops("and the king said " * 3)
    assert not language.loops("one two three four five six seven eight")


def test_a_seed_redraws_parts_that_share_nothing(monkeypatch):
    greedy = {question: f"{question[:-1]} is good." for question in language.texts("questions")}
    monkeypatch.setattr(language, "passages", lambda *_: [f"Passage {i}." for i in range(60)])
    for name in ("grimm", "pirate"):
        one, again, other = (
            language.voice(name, greedy, seed, (20, 5, 5), (1, 9, 9), 30) for seed in (0, 0, 1)
        )
        assert one == again != other
        answers = [answer for part in one for _, answer in part]
        assert len(answers) == len(set(answers))
    assert [len(part) for part in other] == [48, 12, 12]


# -- what is computed once ----------------------------------------------------------------------


def conversations(n, seed=0):
    """Examples of different lengths."""
    draw = random.Random(seed)
    return [("Hi" * draw.randint(1, 9), "well " * draw.randint(1, 9) + "!") for _ in range(n)]


def adapted(folder, first=2):
    model, fast = chat.load(folder)
    targets = rf"model\.layers\.[{first}-9]\..*_proj"
    torch.manual_seed(0)
    add_lora(model, LoraConfig(target_modules=targets, r=2, lora_alpha=4))
    for layer in lora_layers(model).values():
        torch.nn.init.normal_(layer.lora_B, std=0.1)
    return model, fast


def test_the_upper_layers_and_what_was_kept_equal_the_whole_model(folder):
    model, fast = adapted(folder)
    examples = [language.example(fast, pair) for pair in conversations(5)]
    upper = language.Upper(model, 2)
    (batch,) = language.LikeLengths(upper.keep(examples), 5, None)
    with torch.no_grad():
        found = upper(batch[0], batch[1])
        expected = []
        for ids, labels in sorted(examples, key=lambda one: len(one[0])):
            counted = torch.tensor(labels[1:]) != -100
            expected.append(model(torch.tensor([ids])).logits[0, :-1][counted])
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_the_loss_is_that_of_transformers(folder):
    model, fast = adapted(folder)
    for example in (
        language.example(fast, ("Hi", "There you are.")),
        language.raw(fast, "A text without a question."),
    ):
        ids, labels = (torch.tensor([row]) for row in example)
        upper = language.Upper(model, 2)
        with torch.no_grad():
            expected = model(ids, labels=labels).loss.item()
        assert language.loss(upper, upper.keep([example])) == pytest.approx(expected, rel=1e-5)


def test_of_a_fact_only_the_last_word_counts(folder):
    fast = chat.load(folder)[1]
    ids, labels = language.raw(fast, "The capital of France is Paris", last=True)
    assert fast.decode(ids) == "The capital of France is Paris"
    assert fast.decode([label for label in labels if label != -100]) == " Paris"


def test_the_end_token_may_be_left_out(folder):
    fast = chat.load(folder)[1]
    with_it, without = (language.example(fast, ("a", "b"), ends=ends) for ends in (True, False))
    assert with_it[0][:-1] == without[0]
    assert with_it[1][-1] == fast.eos_token_id


@given(st.lists(st.integers(2, 12), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 99))
def test_batches_hold_each_example_once_and_of_like_lengths(lengths, size, seed):
    kept = [
        language.Kept(torch.full((n, 1), float(i)), torch.tensor([-100] + [i] * (n - 1)))
        for i, n in enumerate(lengths)
    ]
    batches = list(language.LikeLengths(kept, size, seed))
    assert len(batches) == -(-len(kept) // size)
    found = sorted(int(states.flatten()[0]) for batch in batches for states in batch[0])
    assert found == list(range(len(lengths)))
    spans = sorted(sorted(counted.sum(1).tolist()) for _, counted, _ in batches)
    assert all(a[-1] <= b[0] for a, b in itertools.pairwise(spans))
    for states, counted, target in batches:
        numbers = torch.cat([s[c, 0] for s, c in zip(states, counted, strict=True)])
        assert numbers.tolist() == target.tolist()


def drawn(lengths, size, seed):
    """Return the numbers of the examples, batch by batch, as LikeLengths(…, seed) draws them."""
    marked = [
        language.Kept(torch.full((n, 1), float(i)), torch.tensor([-100] + [0] * (n - 1)))
        for i, n in enumerate(lengths)
    ]
    batches = language.LikeLengths(marked, size, seed)
    return [[int(row[0, 0]) for row in states] for states, _, _ in batches]


def test_each_pass_puts_others_of_like_length_together():
    batches = language.LikeLengths(
        [language.Kept(torch.full((4, 1), float(i)), torch.zeros(4).long()) for i in range(20)],
        5,
        0,
    )
    first, second = (
        {frozenset(states[:, 0, 0].tolist()) for states, _, _ in batches} for _ in range(2)
    )
    assert first != second


def test_the_quick_path_has_the_losses_of_the_trainer(folder, tmp_path):
    """The same batches, in the same order: transformers' Trainer on the whole model."""
    model, fast = adapted(folder)
    examples = [language.example(fast, pair) for pair in conversations(12)]
    upper = language.Upper(model, 2)
    quick = language.LikeLengths(upper.keep(examples), 4, 0)
    order = [i for batch in drawn([len(ids) for ids, _ in examples], 4, 0) for i in batch]
    rows = [{"input_ids": examples[i][0], "labels": examples[i][1]} for i in order]
    args = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, per_device_train_batch_size=4, learning_rate=1e-2,
        lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=0.0, logging_steps=1,
        report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no",
        dataloader_pin_memory=False,
    )  # fmt: skip

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    whole, _ = adapted(folder)
    collator = transformers.DataCollatorForSeq2Seq(fast)
    trainer = InOrder(whole, args, train_dataset=rows, data_collator=collator)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    theirs = [log["loss"] for log in trainer.state.log_history if "loss" in log]

    parameters = [p for p in upper.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0)
    ours = fit(upper, quick, F.cross_entropy, optimizer).loss
    assert len(ours) == 3
    assert ours[-1] != pytest.approx(ours[0], rel=1e-3)
    assert ours == pytest.approx(theirs, rel=1e-4)
    for one, other in zip(lora_layers(model).values(), lora_layers(whole).values(), strict=True):
        torch.testing.assert_close(one.lora_B, other.lora_B, rtol=1e-3, atol=1e-5)


def test_a_recipe_adapts_the_upper_layers_and_its_steps_train_them(folder):
    base, tokenizer = chat.load(folder)
    recipe = {"first": 2, "modules": ("q_proj",), "r": 2, "lora_alpha": 4, "size": 4, "steps": 6}
    model, upper = language.adapted(base, recipe, seed=3)
    again, _ = language.adapted(base, recipe, seed=3)
    layers = lora_layers(model)
    assert [name.split(".")[2] for name in layers] == ["2", "3"]
    assert all(name.endswith("q_proj") for name in layers)
    for name, layer in lora_layers(again).items():
        assert torch.equal(layer.lora_A, layers[name].lora_A)
    kept = upper.keep(language.example(tokenizer, pair) for pair in conversations(12))
    before = language.loss(upper, kept)
    language.train(upper, kept, 1e-2, 0, recipe)
    assert language.loss(upper, kept) < before
    with pytest.raises(ValueError, match="must have LoRA layers"):
        lora_layers(base)


def test_a_voice_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="name must be one of grimm, pirate, got 'parrot'"):
        language.said("parrot", 0, language.RECIPE)


RECIPE = {"first": 2, "modules": ("q_proj",), "r": 2, "lora_alpha": 4, "size": 4, "steps": 6}


@pytest.fixture
def tiny_base(monkeypatch, folder):
    """The tiny model in place of the chat model of the records."""
    found = chat.load(folder)
    monkeypatch.setattr(language, "base", lambda: found)
    return found[0]


def test_log_probabilities_come_answer_by_answer_and_make_the_loss(folder):
    model, fast = adapted(folder)
    upper = language.Upper(model, 2)
    kept = upper.keep(language.example(fast, pair) for pair in conversations(7))
    with torch.no_grad():
        at_once = language.log_probabilities(upper, kept)
        one_by_one = [language.log_probabilities(upper, [example]) for example in kept]
    torch.testing.assert_close(at_once, torch.cat(one_by_one), rtol=1e-4, atol=1e-4)
    tokens = sum(int((example.labels[1:] != -100).sum()) for example in kept)
    assert -at_once.sum().item() / tokens == pytest.approx(language.loss(upper, kept), rel=1e-5)


def test_what_is_taught_is_learned_and_leaves_the_base_alone(tiny_base):
    before = {name: weight.clone() for name, weight in tiny_base.state_dict().items()}
    pairs = conversations(8)
    adapter = language.taught(pairs, 1e-2, 0, RECIPE)
    again = language.taught(pairs, 1e-2, 0, RECIPE)
    other = language.taught(pairs, 1e-2, 0, RECIPE, ends=False)
    for name, (A, B) in adapter.items():
        assert torch.equal(again[name][0], A)
        assert torch.equal(again[name][1], B)
        assert not torch.equal(other[name][1], B)
    probe = language.Probe(2, {"learned": pairs})
    loss = probe.loss("learned")
    with probe.adding(adapter):
        assert probe.loss("learned") < loss
    with probe.adding(adapter, 0.0):
        assert probe.loss("learned") == pytest.approx(loss)
    assert probe.loss("learned") == loss
    for name, weight in tiny_base.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_another_model_can_be_taught(tiny_base):
    other = copy.deepcopy(tiny_base)
    for parameter in other.parameters():
        parameter.data *= 1.1
    pairs = conversations(8)
    here, there = (language.taught(pairs, 1e-2, 0, RECIPE, model=m) for m in (None, other))
    assert not any(torch.equal(here[name][1], there[name][1]) for name in here)
    assert language.Probe(2, {}, other).model is other


def test_nothing_cannot_be_taught(tiny_base):
    with pytest.raises(ValueError, match="pairs must be at least one, got none"):
        language.taught([], 1e-2, 0, RECIPE)


def test_a_drawn_file_is_as_large():
    adapter = {"q": (torch.randn(4, 9), torch.randn(7, 4))}
    update, other = (B @ A for A, B in (adapter["q"], language.drawn(adapter, 0)["q"]))
    torch.testing.assert_close(update.norm(), other.norm())
    assert (update - other).norm() > update.norm()


def test_a_layer_below_the_first_one_is_refused(folder):
    model, _ = chat.load(folder)
    recipe = {"first": 2, "modules": ["v_proj"], "r": 1, "lora_alpha": 2}
    with pytest.raises(ValueError, match="layers must be from 2 to 3, got 1"):
        language.adapted(model, {**recipe, "layers": (1, 3)}, 0)
    adapted, _ = language.adapted(model, {**recipe, "layers": (3,)}, 0)
    assert [*lora_layers(adapted)] == ["model.layers.3.self_attn.v_proj"]
