"""Each descendant begins at the base, as defined."""

import pytest
import torch

from lora_edu import chat
from lora_edu.adapt import lora_layers
from lora_edu.course import language, minilm
from lora_edu.course.beyond_lora import experiments as lab
from lora_edu.course.datasets import mlp
from lora_edu.quantize import NF4, nf4_levels

KINDS = ("full", "lora", "rslora", "lora+", "pissa", "random start", "dora")


@pytest.fixture
def base():
    return mlp(64, 32, 16, 10, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_starts_where_the_base_is(base, kind):
    x = torch.rand(5, 64, dtype=torch.float64)
    model = lab.adapt(base, kind, 0, r=4, alpha=32)
    torch.testing.assert_close(model(x), base(x), atol=1e-5, rtol=1e-5)
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("bias"))


def test_rslora_is_plain_lora_with_another_alpha(base):
    one = lora_layers(lab.adapt(base, "rslora", 0, r=16, alpha=8))["fc1"]
    two = lora_layers(lab.adapt(base, "lora", 0, r=16, alpha=32))["fc1"]
    assert one.scaling == two.scaling
    assert torch.equal(one.lora_A, two.lora_A)


@pytest.mark.parametrize("alpha", [1, 8, 128])
def test_the_random_start_has_pissas_sizes_and_other_directions(base, alpha):
    one, two = (lora_layers(lab.adapt(base, m, 0, alpha=alpha)) for m in ("pissa", "random start"))
    for name in one:
        deltas = [layers[name].delta_weight().detach() for layers in (one, two)]
        sigma = [torch.linalg.svdvals(delta)[:8] for delta in deltas]
        torch.testing.assert_close(*sigma, rtol=1e-4, atol=0)
        assert (deltas[0] - deltas[1]).norm() > 0.5 * deltas[0].norm()


def test_the_page_rounds_as_nf4_does():
    W = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    error = (NF4.quantize(W).dequantize() - W).norm() / W.norm()
    assert lab.rounding_error(W, nf4_levels(), 64) == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.assets
def test_nf4_rounds_the_weights_of_both_layers_and_no_others():
    base = minilm.pretrained()
    model = lab.rounded(minilm.pretrained())
    for name, weight in base.bert.named_parameters(prefix="bert"):
        same = torch.equal(weight, model.get_parameter(name))
        assert same != (name.removesuffix(".weight") in minilm.MODULES), name


REWARDS = [
    ("Paris is the capital of France.<|im_end|>", 1),
    ("Paris is the capital of France.", 0),  # it has not ended
    ("Dogs are good.<|im_end|>", 0),  # too short
    ("It is a word of seven letters, and then of six more.<|im_end|>", 1),
    ("It is a word of seven letters, and then of six more letters.<|im_end|>", 0),
    ("Paris is one. And Rome is another one.<|im_end|>", 0),
    ("Paris is the capital of France\n.<|im_end|>", 0),
    ("Paris is the capital of France<|im_end|>", 0),
    ("<|im_end|>", 0),
]


@pytest.mark.parametrize(("answer", "reward"), REWARDS)
def test_an_answer_of_one_short_sentence_pleases(answer, reward):
    assert lab.pleases(answer) == reward


@pytest.mark.seconds
@pytest.mark.assets
def test_a_cache_read_once_says_what_the_whole_text_says():
    """Each answer behind its question, on its own and unpadded, has the same log-probabilities."""
    model, tokenizer = language.base()
    asked = ["Who?", "What is the capital of France?"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        drawn, counted = lab._drawn(model, tokenizer, asked, 2, 5)
        found = lab._likely(model, tokenizer, asked, drawn)
        for row, answer in enumerate(drawn):
            said = [{"role": "user", "content": asked[row // 2] + lab.REQUEST}]
            before = tokenizer(
                chat.template(tokenizer, said, answers=True), add_special_tokens=False
            )
            ids = torch.tensor([before["input_ids"] + answer.tolist()])
            logits = model(ids).logits[0, -6:-1].log_softmax(-1)
            expected = logits.gather(-1, answer[:, None])[:, 0]
            torch.testing.assert_close(found[row], expected, atol=2e-3, rtol=1e-3)
    assert counted[:, 0].all()
