"""Plans of memory against what PyTorch holds after one real step, to the byte."""

import pytest
import torch

from lora_edu import counting, memory
from lora_edu.adapt import LoraConfig, add_lora

# Small models of the families, real enough to run: name → (changes, names of layers).
WIDTHS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
BERT = {**WIDTHS, "num_attention_heads": 4}
LLAMA = {**BERT, "head_dim": 8, "num_key_value_heads": 2}
Q_V = ["q_proj", "v_proj"]
SMALL = {
    "llama-3.1-8b": (LLAMA, Q_V),
    "gemma-2-2b": (LLAMA, "all-linear"),
    "mixtral-8x7b": (LLAMA, Q_V),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4}, ["c_attn"]),
    "bert-base-cased": (BERT, ["query", "value"]),
    "t5-base": ({"d_model": 32, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2}, ["q", "v"]),
}


def small(name):
    return {**counting.catalogue()[name], **SMALL[name][0], "vocab_size": 50}


LLAMA_CONFIG = small("llama-3.1-8b")


def held(name, batch, length):
    """Return the bytes of each part after one real step of LoRA, and what full training keeps."""
    model = memory.build(small(name)).to(torch.bfloat16).eval()
    names = ["input_ids", "labels", *["decoder_input_ids"] * model.config.is_encoder_decoder]
    inputs = {name: torch.zeros(batch, length, dtype=torch.long) for name in names}
    full = memory.saved_bytes(model, lambda: model(**inputs))
    add_lora(model, LoraConfig(r=4, lora_alpha=4, target_modules=SMALL[name][1]))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    kept = memory.saved_bytes(model, lambda: model(**inputs))
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    parts = {"weights": model.parameters(), "gradients": [p.grad for p in trained]}
    parts["optimizer"] = [t for state in optimizer.state.values() for t in state.values()]
    found = {part: sum(t.nbytes for t in tensors) for part, tensors in parts.items()}
    return {**found, "activations": kept}, full


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("batch", "length"), [(1, 16), (3, 8)])
def test_a_plan_is_what_a_step_holds(name, batch, length):
    planned = memory.plan(small(name), 4, SMALL[name][1], batch, length)
    real, full = held(name, batch, length)
    assert planned["LoRA"] == real
    assert planned["full"]["activations"] == full


def test_each_storage_is_kept_once_and_no_weight():
    layer, x = torch.nn.Linear(4, 6), torch.ones(3, 4, requires_grad=True)

    def run():
        left, right = layer(x).chunk(2, dim=-1)  # two views of one storage
        return left * right

    assert memory.saved_bytes(layer, run) == 4 * (3 * 4 + 3 * 6)


def test_full_training_takes_12_bytes_a_number_and_qlora_four_bits():
    planned = memory.plan(LLAMA_CONFIG, 4, Q_V)
    modules = counting.modules(LLAMA_CONFIG)
    base = counting.base_parameters(modules)
    assert planned["full"]["weights"] == planned["full"]["gradients"] == 2 * base
    steps = 4 * sum(1 for m in modules.values() if m.parameters)  # Adam counts them, a tensor each
    assert planned["full"]["optimizer"] == 8 * base + steps
    linear = 2 * (base - counting.packed_4bit_parameters(modules))  # packed: two in one
    saved = planned["LoRA"].pop("weights") - planned["QLoRA"].pop("weights")
    assert saved == pytest.approx(linear * (2 - 4.127 / 8), rel=1e-3)
    assert planned["QLoRA"] == planned["LoRA"]


@pytest.mark.seconds
def test_the_largest_model_takes_seconds_and_no_memory():
    planned = memory.plan(counting.catalogue()["llama-3.1-405b"], 16, ["q_proj"], 1, 64)
    assert planned["full"]["weights"] == 2 * 405_853_388_800


def test_nothing_of_a_plan_stays_and_no_cache_changes_it():
    planned = memory.plan(LLAMA_CONFIG)
    assert torch.get_default_dtype() == torch.float32
    assert torch.zeros(1).sum().item() == 0.0
    assert memory.plan({**LLAMA_CONFIG, "use_cache": False}) == planned


def test_the_smallest_card_has_room_beside_the_plan():
    room = 24 * 2**30 - 1_500_000_000
    assert memory.smallest_card({"weights": room}) == 24
    assert memory.smallest_card({"weights": room, "activations": 1}) == 48
    assert memory.smallest_card({"weights": room}, "QLoRA") == 48
    assert memory.smallest_card({"weights": 10**12}) is None
    with pytest.raises(ValueError, match="method must be one of full, LoRA, QLoRA, got 'DoRA'"):
        memory.smallest_card({"weights": 1}, "DoRA")


@pytest.mark.slow
def test_cards_need_more_than_a_plan_but_not_more_than_is_left_beside():
    from lora_edu.course.ledger import measured

    more = {"LoRA": [], "QLoRA": []}
    for m in (m for m in measured().values() if "method" in m):
        config = counting.catalogue()[m["model"]]
        planned = memory.plan(config, m["r"], Q_V, m["batch"], m["length"])
        real = float(m["published"].split()[0]) * 1e9
        more[m["method"]].append(real - sum(planned[m["method"]].values()))
    assert [len(some) for some in more.values()] == [8, 7]
    for method, some in more.items():
        assert min(some) > 0, method
        assert 0.9 * memory.BESIDE[method] < max(some) < memory.BESIDE[method]
