"""The calculator in a real browser: every number that it shows, against the package's own."""

import json
from collections import Counter
from pathlib import Path

import pytest
from builder import explorables

from lora_edu import counting, memory

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
STATIC = Path(__file__).parents[2] / "notebooks" / "site" / "static"
LIGHT = "body { color: black }"
DARK = """:root { --color-foreground-primary: #cfd0d0; --color-background-primary: #131416;
  --color-background-secondary: #1a1c1e; --color-background-border: #303335;
  --color-foreground-muted: #81868d; --mark: #56b4e9; --warm: #e69f00 }
  body { color: #cfd0d0; background: #131416 }
  button, input, select, textarea { color: #cfd0d0; background: #131416 }"""
# What the page shows, as one value.
SHOWN = """() => {
  const texts = (root, css) => [...root.querySelectorAll(css)].map(e => e.textContent.trim());
  const values = (root, css) => [...root.querySelectorAll(css)].map(e => e.value);
  const section = document.querySelector("section");
  const [shapes, plans] = [...section.querySelectorAll("table")].map(table =>
    [...table.rows].slice(1).map(row => [...texts(row, "th, td"), ...values(row, "data")]));
  return {line: texts(section, "code")[0], command: texts(section, "code")[1],
    facts: values(section, "dl data"), shapes, plans,
    bars: [...section.querySelectorAll(".bars div")].map(bar =>
      [...bar.children].map(part => parseFloat(part.style.width)))};
}"""
# All but for real presses, which other tests make: what the events do.
SET = """([id, names, rank]) => {
  const tell = field => field.dispatchEvent(new Event("input", {bubbles: true}));
  const [select, number] = ["select", "[type=number]"].map(css => document.querySelector(css));
  select.value = id;
  tell(select);
  number.value = rank;
  tell(number);
  const buttons = {"q and v": "button", "all linear": "button + button"};
  if (names in buttons) document.querySelector(buttons[names]).click();
  else for (const box of document.querySelectorAll("[type=checkbox]")) {
    box.checked = names === "everything" || names.includes(box.value);
    tell(box);
  }
  return [...document.querySelectorAll("[type=checkbox]:checked")].map(box => box.value);
}"""


@pytest.fixture(scope="module")
def content():
    data = json.dumps({"calculator": explorables.calculator_data()})
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>calculator</title>
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <style>{(STATIC / "explorables.css").read_text("utf-8")}</style></head>
      <body><main><h1>Count</h1>
      <div class="explorable" data-explorable="calculator"><p>In words.</p></div></main>
      <script>const loraData = {data};</script>
      <script>{(STATIC / "calculator.js").read_text("utf-8")}</script></body></html>"""


@pytest.fixture
def opened(browser, content):
    """A function that opens the page, which asks for nothing and complains of nothing.

    With ``waits``, its clock stands still but for ``heard``.
    """
    contexts, wrong = [], []

    def open_page(width=1000, waits=False, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text))
        page.route("**/*", lambda route: (wrong.append(route.request.url), route.abort()))
        if waits:
            page.clock.install(time=0)
        page.set_content(content)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def choose(page, model):
    page.get_by_role("combobox", name="Model").select_option(model)


def own(page):
    return page.get_by_role("textbox", name="Your config.json")


def box(page, name):
    return page.get_by_role("checkbox", name=name, exact=True)


def heard(page):
    """What the page says, when nobody has typed for a while."""
    page.clock.run_for(350)
    return page.locator("output").text_content()


def expected(config, r, names):
    """What the package counts, in the shape of SHOWN."""
    counted, chosen = counting.count(config, r, names), counting.targets(config, names)
    trained, base = counted.trainable, counted.base
    half, single = "bfloat16", "float32"
    linear = sum(
        m.out_features * m.in_features
        for m in counting.modules(config).values()
        if m.kind == "linear"
    )
    full = counting.training_memory(0, base, dtypes=(half, half, single))
    lora = counting.training_memory(base, trained, dtypes=(half, single, single))
    saved = counting.bytes_of(linear, half) - counting.bytes_of(linear, "nf4-double")
    plans = {"full": full, "LoRA": lora, "QLoRA": {**lora, "weights": lora["weights"] - saved}}
    shapes = Counter(
        (name.rpartition(".")[2], m.out_features, m.in_features) for name, m in chosen.items()
    )
    area = sum(m.out_features * m.in_features for m in chosen.values())
    edge = sum(m.out_features + m.in_features for m in chosen.values())
    files = [counting.bytes_of(trained, dtype) for dtype in ("float16", "float32")]
    line = f"trainable params: {trained:,} || all params: {counted.all:,} || "
    return {
        "line": f"{line}trainable%: {100 * trained / counted.all:.4f}",
        "facts": [base / trained, counted.adapted_modules, *files, area / edge],
        "shapes": {
            (name, f"{many:,}", f"{d:,} × {k:,}"): (
                counting.lora_parameters(d, k, r),
                counting.break_even_rank(d, k),
            )
            for (name, d, k), many in shapes.items()
        },
        "plans": plans,
    }


def check(shown, expects):
    assert shown["line"] == expects["line"]
    facts = [float(fact) for fact in shown["facts"]]
    assert facts == pytest.approx(expects["facts"], rel=1e-14)
    assert [int(fact) for fact in shown["facts"][1:4]] == expects["facts"][1:4]
    shapes = {tuple(row[:3]): (int(row[-2]), float(row[-1])) for row in shown["shapes"]}
    assert len(shapes) == len(shown["shapes"])
    assert shapes == {key: pytest.approx(row, rel=1e-14) for key, row in expects["shapes"].items()}
    most = max(sum(plan.values()) for plan in expects["plans"].values())
    for row, bar, (method, plan) in zip(
        shown["plans"], shown["bars"], expects["plans"].items(), strict=True
    ):
        sizes = [*plan.values(), sum(plan.values())]
        assert [int(size) for size in row[-4:]] == sizes
        assert [float(gb.replace(",", "")) for gb in row[1:5]] == pytest.approx(
            [size / 1e9 for size in sizes], rel=5e-3
        )
        card = memory.smallest_card(plan, method)
        assert row[5] == (f"{card} GB" if card else f"> {memory.CARDS[-1]} GB")
        assert bar == pytest.approx([100 * size / most for size in plan.values()], abs=1e-3)


def test_every_model_of_the_catalogue_is_counted_as_the_package_counts_it(opened):
    page, checked = opened(), 0
    for id, config in counting.catalogue().items():
        for names, rank in [("q and v", 8), ("all linear", 1), ("everything", 300), ("lm_head", 7)]:
            ticked = page.evaluate(SET, [id, names, rank])
            if not ticked:  # an encoder has no lm_head
                assert "lm_head" not in counting.modules(id)
                continue
            shown = page.evaluate(SHOWN)
            check(shown, expected(config, rank, ticked))
            command = f"lora-edu count {id} --memory --rank {rank} --target-modules "
            assert shown["command"] == command + " ".join(ticked)
            if names == "all linear" and config["model_type"] not in counting._data()["converted"]:
                assert shown["line"] == expected(config, rank, "all-linear")["line"]
            checked += 1
    assert checked > 3 * len(counting.catalogue())


def test_the_memory_is_that_of_a_plan_but_for_adams_steps(opened):
    page = opened()
    page.evaluate(SET, ["all-MiniLM-L6-v2", "q and v", 8])
    config = counting.catalogue()["all-MiniLM-L6-v2"]
    plans = memory.plan(config, 8, ["query", "value"], length=8)
    for row, (method, plan) in zip(page.evaluate(SHOWN)["plans"], plans.items(), strict=True):
        weights, gradients, optimizer = map(int, row[-4:-1])
        assert (weights, gradients) == (plan["weights"], plan["gradients"])
        assert 0 < plan["optimizer"] - optimizer < 1000, method  # 4 bytes a tensor


LLAMA = {  # as Llama 3.1 8B has it, without head_dim
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 128000, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
    "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "rope_scaling": {"factor": 8.0}, "rope_theta": 500000.0,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": 128256,
}  # fmt: skip
GPT2 = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768,
    "n_head": 12, "n_inner": None, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
}  # fmt: skip
BERT = {
    "architectures": ["BertForMaskedLM"], "hidden_size": 768, "intermediate_size": 3072,
    "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
    "num_hidden_layers": 12, "type_vocab_size": 2, "vocab_size": 30522,
}  # fmt: skip
MIXTRAL = {**counting.catalogue()["mixtral-8x7b"], "head_dim": None}
PHI = {
    key: value
    for key, value in counting.catalogue()["phi-4"].items()
    if key not in ("qkv_heads", "head_dim", "tie_word_embeddings")
}


PASTED = [  # a config, what completes it, q and v
    (LLAMA, {"head_dim": 128}, ["q_proj", "v_proj"]),
    (GPT2, {}, ["c_attn"]),
    (BERT, {}, ["query", "value"]),
    (MIXTRAL, {"head_dim": 128}, ["q_proj", "v_proj"]),
    (PHI, {"qkv_heads": 60, "head_dim": 128, "tie_word_embeddings": False}, ["qkv_proj"]),
]


def test_a_pasted_config_is_counted_and_told_what_it_left_out(opened):
    page = opened()
    expect(own(page)).to_be_hidden()
    choose(page, "a config.json of your own")
    for config, completed, names in PASTED:
        own(page).fill(json.dumps(config, indent=2))
        check(page.evaluate(SHOWN), expected({**config, **completed}, 8, names))
        note = page.locator("section > p").first.text_content()
        keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in completed.items())
        assert (f"completed as transformers does it: {keys}." in note) == bool(keys)
        more = {**config, **completed, "vocab_size": 2**44 + 1}  # its bytes are beyond doubles
        own(page).fill(json.dumps(more))
        check(page.evaluate(SHOWN), expected(more, 8, names))


DEEPSEEK = counting.catalogue()["deepseek-v3"]
OPT = {
    key: value
    for key, value in counting.catalogue()["opt-350m"].items()
    if key != "do_layer_norm_before"  # which is true, where a config does not say so
}
NO_JSON, FAMILY = (
    "A config.json holds one object in JSON. This does not: ",
    'model_type must be "llama',
)
WHOLE = "must be a whole number from"
BAD = [  # a text or a config, what the page says, what the package names when it refuses it
    ("", NO_JSON, None),
    ("hello", NO_JSON, None),
    ("{'model_type': 'llama'}", NO_JSON, None),
    ("null", FAMILY, None),
    ("[1, 2]", FAMILY, None),
    ({}, FAMILY, "model_type"),
    ({"model_type": "rwkv"}, FAMILY, "model_type"),
    ({"model_type": "constructor"}, FAMILY, "model_type"),
    ({**GPT2, "n_embd": None}, f"n_embd {WHOLE} 1 to 9,007,199,254,740,991, got null.", "n_embd"),
    ({**GPT2, "n_embd": "768"}, f'n_embd {WHOLE} 1 to 9,007,199,254,740,991, got "768".', "n_embd"),
    ({**GPT2, "n_embd": 0}, f"n_embd {WHOLE} 1 to 9,007,199,254,740,991, got 0.", "n_embd"),
    (
        {**GPT2, "n_embd": 2**53},
        f"n_embd {WHOLE} 1 to 9,007,199,254,740,991, got 9007199254740992.",
        None,
    ),
    ({**GPT2, "n_layer": -1}, f"n_layer {WHOLE} 0 to 10,000, got -1.", "n_layer"),
    ({**GPT2, "n_layer": 10_001}, f"n_layer {WHOLE} 0 to 10,000, got 10001.", "n_layer"),
    ({**GPT2, "vocab_size": 1.5}, f"vocab_size {WHOLE} 1 to", "vocab_size"),
    ({"model_type": "bert"}, "This config of a bert model lacks hidden_size.", "hidden_size"),
    ({"model_type": "llama"}, "This config of a llama model lacks ", "hidden_size"),
    (
        {**LLAMA, "head_dim": 128, "tie_word_embeddings": "no"},
        'tie_word_embeddings must be true or false to be counted here, got "no".',
        "tie_word_embeddings",
    ),
    (
        {**DEEPSEEK, "first_k_dense_replace": 62},
        f"first_k_dense_replace {WHOLE} 0 to 61, got 62.",
        "first_k_dense_replace",
    ),
    ({**GPT2, "n_inner": 1000}, "n_inner must be null to be counted here, got 1000.", None),
    ({**LLAMA, "mlp_bias": True}, "mlp_bias must be false to be counted here, got true.", None),
    (OPT, "do_layer_norm_before must be false to be counted here, got true.", None),
    ({**GPT2, "n_layer": 0}, "Choose at least one module.", None),
]


def test_bad_input_gets_one_line_that_names_it(opened):
    page = opened(waits=True)
    choose(page, "a config.json of your own")
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
        expect(page.locator("section")).to_be_empty()
        own(page).fill(json.dumps(LLAMA))
        assert "trains 3,407,872 numbers beside 8,030,261,248" in heard(page)
        expect(page.locator("section")).to_contain_text("trainable params: 3,407,872")


def test_a_rank_or_a_choice_that_is_none_gets_one_line(opened):
    page = opened(waits=True)
    rank = page.get_by_role("spinbutton", name="Rank r")
    for bad in ("", "0", "-8", "1.5", "1e300"):
        rank.fill(bad)
        assert heard(page).startswith("Rank r must be a whole number from 1 to 9,007,199,")
        expect(page.locator("section")).to_be_empty()
        expect(rank).to_have_value(bad)
        rank.fill("8")
        assert heard(page).startswith("LoRA with r = 8 on q_proj, v_proj")
    for name in ("q_proj", "v_proj"):
        box(page, name).uncheck()
    assert heard(page) == "Choose at least one module."


def test_it_works_by_keyboard_and_says_what_it_shows(opened):
    page = opened(reduced_motion="reduce")
    output, bars = page.locator("output"), page.get_by_role("img")
    page.get_by_role("combobox", name="Model").focus()
    for _ in range(4):  # to the fourth of the boxes: the field for a config is hidden
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(box(page, "o_proj")).to_be_checked()
    expect(output).to_contain_text("on q_proj, v_proj, o_proj trains 5,505,024 numbers")
    page.get_by_role("button", name="all linear").press("Enter")
    expect(box(page, "down_proj")).to_be_checked()
    expect(box(page, "lm_head")).not_to_be_checked()
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
    expect(output).to_have_text(sentence)
    expect(bars).to_have_attribute("aria-label", sentence)
    expect(page.locator("section")).to_contain_text("Activations come on top and are not counted")
    assert page.evaluate("document.getAnimations().length") == 0


def test_choices_survive_where_they_can_and_experts_are_closed(opened):
    page = opened()
    every = page.get_by_role("button", name="all linear")
    box(page, "k_proj").check()
    choose(page, "llama-3.2-1b")  # the same names
    expect(box(page, "k_proj")).to_be_checked()
    every.click()
    choose(page, "deepseek-v3")
    expect(every).to_be_disabled()
    expect(box(page, "down_proj")).to_have_count(0)
    expect(page.locator("section")).to_contain_text("a model of type deepseek_v3, whose experts")
    expect(box(page, "q_b_proj")).to_be_checked()
    with pytest.raises(ValueError, match="in a way of its own"):
        counting.count("deepseek-v3", 8, ["down_proj"])
    choose(page, "gpt2")  # "all linear" was pressed last
    expect(box(page, "c_fc")).to_be_checked()


def test_nothing_is_wider_than_a_small_phone(opened):
    page = opened(320)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    for id in counting.catalogue():
        page.evaluate(SET, [id, "everything", 4096])
        assert page.evaluate(fits), id
    choose(page, "a config.json of your own")
    own(page).fill('{"model_type": "' + 99 * "W" + '"}')
    expect(page.locator("output")).to_contain_text("WWW")
    assert page.evaluate(fits)
    own(page).fill(json.dumps(LLAMA))
    for target in page.locator("button, select, textarea, [type=number], fieldset label").all():
        assert min(target.bounding_box()["width"], target.bounding_box()["height"]) >= 40


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_axe_finds_nothing(opened, style):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(360)
    page.add_style_tag(content=style)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    for model in ("llama-3.1-8b", "mixtral-8x7b", "a config.json of your own"):
        choose(page, model)
        found = axe.Axe().run(page, options={"runOnly": tags})
        assert found.violations_count == 0, found.generate_report()
    own(page).fill("hello")
    expect(page.locator("output")).to_contain_text("This does not")
    found = axe.Axe().run(page, options={"runOnly": tags})
    assert found.violations_count == 0, found.generate_report()


def test_it_is_quick(opened):
    page = opened()
    page.evaluate(SET, ["llama-3.1-405b", "everything", 8])
    slide = """() => {
      const slider = document.querySelector("[type=range]"), start = performance.now();
      slider.value = 1 + slider.value % 256;
      slider.dispatchEvent(new Event("input", {bubbles: true}));
      document.body.offsetHeight;
      return performance.now() - start;
    }"""
    assert min(page.evaluate(slide) for _ in range(5)) < 50  # milliseconds


def test_without_scripts_there_are_words(opened):
    page = opened(java_script_enabled=False)
    expect(page.locator(".explorable")).to_have_text("In words.")
