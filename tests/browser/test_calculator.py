"""The calculator in a real browser: every number that it shows, against the package's own."""

import json
from collections import Counter

import pytest
from browser.page import expect
from builder import explorables

from lora_edu import counting, memory

OWN = "a config.json of your own"
# What the page shows: texts, and numbers unrounded.
SHOWN = """() => {
  const texts = (root, css) => [...root.querySelectorAll(css)].map(e => e.textContent.trim());
  const values = (root, css) => [...root.querySelectorAll(css)].map(e => Number(e.value));
  const section = document.querySelector("section");
  const [shapes, plans] = [...section.querySelectorAll("table")].map(table =>
    [...table.rows].slice(1).map(row => [texts(row, "th, td"), values(row, "data")]));
  const [line, command] = texts(section, "code");
  return {line, command, facts: values(section, "dl data"), shapes, plans,
    bars: [...section.querySelectorAll(".bars div")].map(bar =>
      [...bar.children].map(part => parseFloat(part.style.width)))};
}"""


def choose(page, id, names, rank):
    """Choose a model, modules and a rank; return the names of the modules that are ticked."""
    page.get_by_role("combobox", name="Model").select_option(id)
    page.get_by_role("spinbutton", name="Rank r").fill(str(rank))
    boxes = page.get_by_role("checkbox").all()
    if names in ("q and v", "all linear"):
        button = page.get_by_role("button", name=names)
        if button.is_enabled():
            button.click()
    else:
        for box in boxes:
            box.set_checked(names in ("everything", box.get_attribute("value")))
    return [box.get_attribute("value") for box in boxes if box.is_checked()]


def own(page):
    """Return the field for a config, which is shown if one's own is chosen."""
    page.get_by_role("combobox", name="Model").select_option(OWN)
    return page.get_by_role("textbox", name="Your config.json")


def heard(page):
    """Return what the page says, when nobody has typed for a while."""
    page.clock.run_for(350)
    return page.locator("output").text_content()


def check(page, config, r, names):
    """Hold what the page shows to what the package counts."""
    shown, chosen = page.evaluate(SHOWN), counting.targets(config, names).items()
    count = counting.count(config, r, names)
    trained, base = count.trainable, count.base
    line = f"trainable params: {trained:,} || all params: {count.all:,} || "
    assert shown["line"] == f"{line}trainable%: {100 * trained / count.all:.4f}"

    area = sum(m.out_features * m.in_features for _, m in chosen)
    edge = sum(m.out_features + m.in_features for _, m in chosen)
    files = [counting.bytes_of(trained, dtype) for dtype in ("float16", "float32")]
    facts = [base / trained, count.adapted_modules, *files, area / edge]
    assert shown["facts"] == pytest.approx(facts, rel=1e-14)

    shapes = {}
    kinds = Counter((n.rpartition(".")[2], m.out_features, m.in_features) for n, m in chosen)
    for (name, d, k), many in kinds.items():
        numbers = (counting.lora_parameters(d, k, r), counting.break_even_rank(d, k))
        shapes[name, f"{many:,}", f"{d:,} × {k:,}"] = pytest.approx(numbers, rel=1e-14)
    assert {tuple(texts[:3]): tuple(values) for texts, values in shown["shapes"]} == shapes
    assert len(shown["shapes"]) == len(shapes)

    half, single = "bfloat16", "float32"
    full = counting.training_memory(0, base, dtypes=(half, half, single))
    lora = counting.training_memory(base, trained, dtypes=(half, single, single))
    modules = [m for m in counting.modules(config).values() if m.kind == "linear"]
    linear = sum(m.out_features * m.in_features for m in modules)
    saved = counting.bytes_of(linear, half) - counting.bytes_of(linear, "nf4-double")
    plans = {"full": full, "LoRA": lora, "QLoRA": {**lora, "weights": lora["weights"] - saved}}
    most = max(sum(plan.values()) for plan in plans.values())
    rows = zip(plans.items(), shown["plans"], shown["bars"], strict=True)
    for (method, plan), (texts, values), bar in rows:
        sizes = [*plan.values(), sum(plan.values())]
        assert values == pytest.approx(sizes, rel=1e-15)
        told = [float(gb.replace(",", "")) for gb in texts[1:5]]
        assert told == pytest.approx([size / 1e9 for size in sizes], rel=5e-3)
        card = memory.smallest_card(plan, method)
        assert texts[5] == (f"{card} GB" if card else f"> {memory.CARDS[-1]} GB")
        assert bar == pytest.approx([100 * size / most for size in plan.values()], abs=1e-3)


def test_every_model_of_the_catalogue_is_counted_as_the_package_counts_it(piece):
    page = piece("calculator")
    for id in explorables.calculator_data()["models"]:
        for names, rank in [("q and v", 8), ("all linear", 1), ("everything", 300), ("lm_head", 7)]:
            ticked = choose(page, id, names, rank)
            if not ticked:  # an encoder has no lm_head
                assert "lm_head" not in counting.modules(id)
                continue
            check(page, id, rank, ticked)
            command = f"lora-edu count {id} --memory --rank {rank} --target-modules "
            assert page.evaluate(SHOWN)["command"] == command + " ".join(ticked)


# -- a config of one's own ----------------------------------------------------------------------


def without(model, *keys, **more):
    """Return a config of the catalogue without some keys, as many a config.json leaves them out."""
    config = counting.catalogue()[model]
    return {key: value for key, value in {**config, **more}.items() if key not in keys}


LLAMA = without("llama-3.1-8b", "head_dim", "tie_word_embeddings", mlp_bias=False)
GPT2 = without("gpt2")
BOTH = {"head_dim": 128, "tie_word_embeddings": False}
PASTED = [  # a config, what the page puts in its place, and the modules that it chooses
    (LLAMA, BOTH, ["q_proj", "v_proj"]),
    (GPT2, {}, ["c_attn"]),
    (without("mixtral-8x7b", head_dim=None), {"head_dim": 128}, ["q_proj", "v_proj"]),
    (
        without("phi-4", "qkv_heads", "head_dim", "tie_word_embeddings"),
        {"qkv_heads": 60, **BOTH},
        ["qkv_proj"],
    ),
]


def test_a_pasted_config_is_counted_and_told_what_it_left_out(piece):
    page = piece("calculator")
    for config, completed, names in PASTED:
        own(page).fill(json.dumps(config, indent=2))
        check(page, {**config, **completed}, 8, names)
        note = page.locator("section > p").first.text_content()
        keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in completed.items())
        assert (f"completed as transformers does it: {keys}." in note) == bool(keys)
        more = {**config, **completed, "vocab_size": 2**44 + 1}  # its bytes are beyond doubles
        own(page).fill(json.dumps(more))
        check(page, more, 8, names)


NO_JSON = "A config.json holds one object in JSON. This does not: "
FAMILY, WHOLE = 'model_type must be "llama', "must be a whole number from"
MOST, FALSE = "9,007,199,254,740,991", "must be false to be counted here, got true."
CLOSED = without("deepseek-v3", first_k_dense_replace=62)
OPT = without("opt-350m", "do_layer_norm_before")  # which is true, where a config does not say so
BAD = [  # a text or a config, what the page says, what the package names when it refuses it
    ("{'model_type': 'llama'}", NO_JSON, None),
    ({"model_type": "constructor"}, FAMILY, "model_type"),
    ({**GPT2, "n_embd": None}, f"n_embd {WHOLE} 1 to {MOST}, got null.", "n_embd"),
    ({**GPT2, "n_embd": 2**53}, f"n_embd {WHOLE} 1 to {MOST}, got 9007199254740992.", None),
    ({**GPT2, "n_layer": 10_001}, f"n_layer {WHOLE} 0 to 10,000, got 10001.", "n_layer"),
    ({"model_type": "bert"}, "This config of a bert model lacks hidden_size.", "hidden_size"),
    ({**LLAMA, "tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false to", None),
    (CLOSED, f"first_k_dense_replace {WHOLE} 0 to 61, got 62.", "first_k_dense_replace"),
    ({**GPT2, "n_inner": 1000}, "n_inner must be null to be counted here, got 1000.", None),
    (OPT, f"do_layer_norm_before {FALSE}", None),
    ({**GPT2, "n_layer": 0}, "Choose at least one module.", None),
]


def test_bad_input_gets_one_line_that_names_it(piece):
    page = piece("calculator", clock=True)
    section, rank = page.locator("section"), page.get_by_role("spinbutton", name="Rank r")
    for bad in ("", "1.5", "1e300"):
        rank.fill(bad)
        assert heard(page).startswith("Rank r must be a whole number from 1 to 9,007,199,")
        expect(section).to_be_empty()
        rank.fill("8")
        assert heard(page).startswith("LoRA with r = 8 on q_proj, v_proj")
    for bad, line, named in BAD:
        if named:  # the package refuses it as well
            with pytest.raises((ValueError, TypeError), match=named):
                counting.modules(bad)
        text = bad if isinstance(bad, str) else json.dumps(bad)
        own(page).fill(text)
        said = heard(page)
        assert said.startswith(line), text
        assert "\n" not in said
        expect(own(page)).to_have_value(text)
        expect(section).to_be_empty()
        own(page).fill(json.dumps(LLAMA))
        assert "trains 3,407,872 numbers beside 8,030,261,248" in heard(page)


def test_it_works_by_keyboard_and_says_what_it_shows(piece):
    page = piece("calculator", clock=True)
    page.get_by_role("combobox", name="Model").focus()
    for _ in range(4):  # to the fourth of the boxes: the field for a config is hidden
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert "on q_proj, v_proj, o_proj trains 5,505,024 numbers" in heard(page)
    every = page.get_by_role("button", name="all linear")
    every.press("Enter")
    expect(page.get_by_role("checkbox", name="down_proj")).to_be_checked()
    expect(page.get_by_role("checkbox", name="lm_head")).not_to_be_checked()
    page.get_by_role("button", name="q and v").press("Space")
    slider, rank = page.get_by_role("slider"), page.get_by_role("spinbutton", name="Rank r")
    slider.press("ArrowRight")
    expect(rank).to_have_value("9")
    rank.press("ArrowDown")
    expect(slider).to_have_value("8")
    sentence = (
        "LoRA with r = 8 on q_proj, v_proj trains 3,407,872 numbers beside 8,030,261,248. "
        "Memory of training, before activations: full 96.4 GB, LoRA 16.1 GB, QLoRA 5.76 GB."
    )
    assert heard(page) == sentence
    expect(page.get_by_role("img")).to_have_attribute("aria-label", sentence)
    page.get_by_role("combobox", name="Model").select_option("deepseek-v3")
    expect(every).to_be_disabled()
    expect(page.locator("section")).to_contain_text("a model of type deepseek_v3, whose experts")
