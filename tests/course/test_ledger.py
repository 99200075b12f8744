"""The ledger: its arithmetic against that of PEFT, its verdicts, its tables."""

import json
import math
import re
from collections import Counter
from fractions import Fraction
from importlib import resources

import peft
import pytest
import torch
from meta import build
from peft.optimizers import create_lorafa_optimizer

from lora_edu import counting
from lora_edu.course import ledger

RAW = json.loads(
    (resources.files("lora_edu.course") / "data" / "published.json").read_text("utf-8")
)
ENTRIES = {entry.id: entry for entry in ledger.ledger()}


def test_it_holds_each_kind_of_figure():
    assert Counter(entry.kind for entry in ENTRIES.values()) == {
        "param_count": 65, "peft_output": 24, "tool_output": 10, "claim": 13, "misprint": 9,
        "checkpoint_size": 6, "followup": 23,
    }  # fmt: skip


JUDGED = [
    ("4,194,304", 4_194_304, "exact"),
    ("4,194,304", 4_194_303, "differs"),
    ("0.35M", 354_823, "rounds"),
    ("0.35M", 345_000, "rounds"),
    ("0.35M", 355_000, "rounds"),
    ("0.35M", 355_001, "truncates"),
    ("0.35M", 359_999, "truncates"),
    ("0.35M", 360_000, "differs"),
    ("0.35M", 344_999, "differs"),
    ("3.0M", 3_171_840, "differs"),  # zeros after the point were meant
    ("10,000 times", Fraction(92508, 10), "approximate"),
    ("350GB", 349_208_518_656, "approximate"),
    ("354GB", 353_500_000_000, "rounds"),
    ("25%", Fraction(246, 1000), "rounds"),
    ("2/3", Fraction(2, 3), "exact"),
    ("2/3", Fraction(667, 1000), "differs"),
    ("21.5", Fraction(2159, 100), "truncates"),
    ("1.5 MB", 3 * 2**19, "truncates"),
]


@pytest.mark.parametrize(("published", "derived", "judged"), JUDGED)
def test_a_verdict_follows_from_the_printed_digits(published, derived, judged):
    assert ledger.verdict(published, derived) == judged


def test_a_unit_can_be_read_otherwise():
    assert ledger.verdict("1.5 MB", 3 * 2**19, "MiB") == "exact"
    assert ledger.printed_value("1.5 MB", "MiB") == 3 * 2**19


@pytest.mark.parametrize("figure", ["a lot", "3 bananas"])
def test_what_is_no_figure_is_refused(figure):
    with pytest.raises(ValueError, match=f"must be a number and a unit of UNITS, got '{figure}'$"):
        ledger.verdict(figure, 3)
    with pytest.raises(ValueError, match="a number and a unit of UNITS, got '3' in 'bananas'"):
        ledger.verdict("3", 3, "bananas")


@pytest.mark.parametrize(
    "bad",
    [
        {"function": "eval", "arguments": ["1"]},
        {"function": "__import__", "arguments": ["os"]},
        {"given": "unknown"},
        {"arguments": [1]},
        {"function": "sum", "arguments": [{"function": "exec", "arguments": []}]},
    ],
)
def test_only_what_is_listed_can_be_named(bad):
    with pytest.raises(ValueError, match="no derivation"):
        ledger.derive(bad)


def test_decimals_are_exact():
    assert ledger.derive({"function": "sum", "arguments": [0.1, 0.2]}) == Fraction(3, 10)
    third = {"function": "quotient", "arguments": [{"given": "a"}, 3]}
    assert ledger.derive(third, {"a": 1}) == Fraction(1, 3)


@pytest.mark.parametrize("raw", RAW["entries"], ids=lambda raw: raw["id"])
def test_an_entry_says_what_it_must(raw):
    entry = ENTRIES[raw["id"]]
    assert entry.source == RAW["sources"][raw["source"]]
    assert entry.place
    assert entry.configuration
    assert entry.verdict == max((q.verdict for q in entry.quantities), key=ledger.VERDICTS.index)
    fits = [h for h in entry.hypotheses if h.verdict != "differs"]
    if entry.verdict != "differs":
        assert entry.explanation != "unexplained"
    elif entry.explanation == "unexplained":
        assert entry.hypotheses, "unexplained, and nothing was tried"
    else:
        assert len(entry.explanation) > 20
        assert fits, "explained, but by no number"


def test_what_was_measured_says_where_and_is_not_judged():
    found = ledger.measured()
    assert len(found) == len(RAW["measured"]) == 21
    assert not found.keys() & ENTRIES.keys()
    for id_, figure in found.items():
        assert figure["source"] in RAW["sources"].values()
        assert all(figure[key] for key in ("place", "model", "configuration")), id_
        assert ledger.printed_value(figure["published"]) >= 1
    # Li et al. measured in networks whose sizes the ledger derives.
    for id_ in ("D.Li2018", "D.Li2018.lenet"):
        assert found[f"{id_}.d90"]["model"] == ENTRIES[id_].model
        assert (
            ledger.printed_value(found[f"{id_}.d90"]["published"])
            < ENTRIES[id_].quantities[0].derived
        )


def functions_in(value):
    if isinstance(value, dict):
        yield from [value] if "function" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from functions_in(item)


def test_each_listed_function_is_used():
    assert {f["function"] for f in functions_in(RAW["entries"])} == set(ledger.FUNCTIONS)


# -- against other implementations ------------------------------------------------------------

COUNTED = {}  # what the ledger counts of a model: of several ranks, the last
for f in functions_in(RAW["entries"]):
    if f["function"] in ("trainable", "all") and f["arguments"]["model"] != "chatglm-6b":
        what = {key: value for key, value in f["arguments"].items() if key != "r"}
        COUNTED[json.dumps(what, sort_keys=True)] = f["arguments"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # on Conv1D, on ties
@pytest.mark.parametrize("arguments", COUNTED.values(), ids=COUNTED)
def test_the_counts_of_the_ledger_are_those_of_peft(arguments):
    """With two layers, where the number of layers has one name."""
    how = dict(arguments)
    model, method = how.pop("model"), how.pop("method", "lora")
    few = {"num_hidden_layers": 2}
    built = build(model, **(few if few.keys() <= counting.catalogue()[model].keys() else {}))
    ours = counting.count(built, method=method, **how)
    if method == "vera":
        config = peft.VeraConfig(**how)
    else:
        config = peft.LoraConfig(**how, use_dora=method == "dora")
    adapted = peft.get_peft_model(built, config, low_cpu_mem_usage=True)
    if method == "lora-fa":
        create_lorafa_optimizer(adapted, r=how["r"], lora_alpha=1, lr=1e-3)
    assert adapted.get_nb_trainable_parameters() == ours[:2]


@pytest.mark.parametrize("id_", ["C21", "C27", "C29"])
def test_outputs_with_a_trained_head_are_those_of_peft_today(id_):
    if id_ == "C21":
        model = build("bert-base-cased", architectures=["BertForQuestionAnswering"])
        how = {"r": 16, "target_modules": ["query", "value"], "modules_to_save": ["qa_outputs"]}
    elif id_ == "C27":
        model = build("roberta-base", architectures=["RobertaForSequenceClassification"])
        names = ["query", "value", "intermediate.dense"]
        how = {"r": 8, "target_modules": names, "modules_to_save": ["classifier"]}
    else:
        with torch.device("meta"):
            first, second, third = map(torch.nn.Linear, (20, 2000, 2000), (2000, 2000, 2))
        model = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), third)
        how = {"r": 8, "target_modules": ["0", "2"], "modules_to_save": ["4"]}
    config = peft.VeraConfig(**how) if id_ == "C27" else peft.LoraConfig(**how)
    printed = peft.get_peft_model(model, config).get_nb_trainable_parameters()
    assert printed == tuple(q.derived for q in ENTRIES[id_].quantities)


def test_the_papers_formula_is_the_count_on_separate_projections():
    llama = counting.count("llama-2-7b", 4, ["q_proj", "v_proj"]).trainable
    assert llama == 2 * 32 * 4096 * (4 + 4)
    square = ledger.FUNCTIONS["square_lora"]
    assert square("gpt3-175b", [4, 4]) == 2 * 96 * 12_288 * (4 + 4) == 18_874_368
    assert square("bert-base-cased", [8]) == counting.count("bert-base-cased", 8, ["key"]).trainable
    fused = counting.count("gpt2", 8, ["c_attn"]).trainable
    assert square("gpt2", [8, 8]) == fused  # r (d + 3d) = 2 r (d + d)


@pytest.mark.parametrize(
    ("model", "architecture", "head"),
    [
        ("roberta-base", "RobertaForSequenceClassification", [[1, 768, 768], [1, 2, 768]]),
        ("bert-base-cased", "BertForQuestionAnswering", [[1, 2, 768]]),
    ],
)
def test_a_head_takes_the_place_of_the_pooler(model, architecture, head):
    dense = ledger.FUNCTIONS["dense"]
    whole = counting.base_parameters(build(model, architectures=[architecture]))
    assert whole == counting.base_parameters(model) - dense([1, 768, 768]) + dense(*head)


def test_a_torch_file_adds_about_330_bytes_a_tensor(tmp_path):
    tensors = {
        f"deberta.encoder.layer.{i}.attention.self.{name}_proj.lora_{m}": torch.zeros(16, 1536)
        for i in range(48)
        for name in ("query", "value")
        for m in "AB"
    }
    torch.save(tensors, tmp_path / "adapter.pt")
    numbers = sum(t.numel() for t in tensors.values())
    extra = (tmp_path / "adapter.pt").stat().st_size - counting.bytes_of(numbers, "float32")
    assert 300 < extra / len(tensors) < 360


# -- tables, and what can fail ----------------------------------------------------------------


def test_each_entry_stands_in_a_table_of_its_source():
    found = ledger.tables()
    assert set(found) == {entry.cites for entry in ENTRIES.values()} == set(ledger.sources())
    there = {row.entry.id for some in found.values() for rows in some.values() for row in rows}
    assert there == set(ENTRIES)
    for source, some in found.items():
        assert all(row.entry.cites == source for rows in some.values() for row in rows)
    own = RAW["tables"]["hu2021"]
    numbered = [name for name in found["hu2021"] if name.startswith("Table ")]
    assert numbered == sorted(numbered, key=lambda name: int(name.split()[1]))
    assert [row.label for row in found["hu2021"]["Table 2"]] == [row[0] for row in own["Table 2"]]
    # A numbered table of the paper that is written out holds every entry with that place.
    for name in own:
        placed = {e.id for e in ENTRIES.values() if re.match(rf"{name}\b", e.place)}
        assert placed <= {row[1] for row in own[name]}, name


def test_what_cannot_fail_is_not_counted():
    figures = [(e, q) for e in ENTRIES.values() for q in e.quantities]
    tested = [q for _, q in figures if q.tested]
    assert ledger.shares() == {
        "entries": len(ENTRIES),
        "figures": len(figures),
        "tested_entries": len({e.id for e, q in figures if q.tested}),
        "tested": len(tested),
        "differ": sum(q.verdict == "differs" for q in tested),
    }
    for entry, quantity in figures:
        by_construction = (entry.id, quantity.published) in {
            ("A.claim.vram", "2/3"), ("B.1TB_25MB", "1 TB")
        }  # fmt: skip
        chosen = entry.kind == "misprint" or "our reading" in entry.configuration
        assert quantity.tested != (chosen or by_construction), entry.id


def test_misfits_are_what_differs_the_farthest_first():
    assert len(ledger.misfits()) == ledger.shares()["differ"]
    assert {(q.tested, q.verdict) for _, q in ledger.misfits()} == {(True, "differs")}
    off = [abs(math.log(q.ratio)) for _, q in ledger.misfits()]
    assert off == sorted(off, reverse=True)


def test_lines_are_what_a_table_needs():
    rows = ledger.lines(ledger.tables())
    assert all(tuple(row) == ledger.COLUMNS for row in rows)
    assert len(rows) >= ledger.shares()["figures"]  # a row that two tables print stands twice
    assert {row["id"] for row in rows} == set(ENTRIES)
    assert all(bool(row["explanation"]) == (row["verdict"] == "differs") for row in rows)
    by_id = {row["id"]: row["derived"] for row in rows}
    assert by_id["A.T3.gpt2m.lora"] == 393_216
    assert by_id["A.claim.speed"] == pytest.approx(0.326154)
    json.dumps(rows)


def test_one_unsaid_layer_explains_a_whole_table():
    rows = ledger.tables()["regret"]["Parameter counts for LoRA on Llama-3.1-8B"]
    assert len(rows) == 4
    for _, entry in rows:
        assert entry.verdict == "differs"
        assert entry.hypotheses[0].verdict == "rounds"


def test_entries_of_some_kinds():
    assert {entry.kind for entry in ledger.ledger(["misprint"])} == {"misprint"}
    assert len(ledger.ledger(["misprint", "claim"])) == 9 + 13
    with pytest.raises(ValueError, match=r"kinds must be of checkpoint_size, .*, got \['rumour'\]"):
        ledger.ledger(["rumour"])
