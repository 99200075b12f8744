"""The ledger: its arithmetic against that of PEFT, its verdicts, its tables."""

import json
import math
from fractions import Fraction

import peft
import pytest
from meta import build
from peft.optimizers import create_lorafa_optimizer

from lora_edu import counting
from lora_edu.course import ledger

RAW = ledger._data()
ENTRIES = {entry.id: entry for entry in ledger.ledger()}


JUDGED = [
    ("4,194,304", 4_194_304, "exact"),
    ("0.35M", 355_000, "rounds"),
    ("0.35M", 360_000, "differs"),
    ("0.35M", 344_999, "differs"),
    ("3.0M", 3_171_840, "differs"),  # zeros after the point were meant
    ("10,000 times", Fraction(92508, 10), "approximate"),
    ("354GB", 353_500_000_000, "rounds"),
    ("2/3", Fraction(2, 3), "exact"),
    ("2/3", Fraction(667, 1000), "differs"),
    ("21.5", Fraction(2159, 100), "truncates"),
    ("1.5 MB", 3 * 2**19, "truncates"),
]


@pytest.mark.parametrize(("published", "derived", "judged"), JUDGED)
def test_a_verdict_follows_from_the_printed_digits(published, derived, judged):
    assert ledger.verdict(published, derived) == judged


def test_decimals_are_exact():
    assert ledger.derive({"function": "sum", "arguments": [0.1, 0.2]}, {}) == Fraction(3, 10)
    third = {"function": "quotient", "arguments": [{"given": "a"}, 3]}
    assert ledger.derive(third, {"a": 1}) == Fraction(1, 3)


@pytest.mark.parametrize("raw", RAW["entries"], ids=lambda raw: raw["id"])
def test_an_entry_says_what_it_must(raw):
    entry = ENTRIES[raw["id"]]
    assert entry.place
    assert entry.url.startswith("https://")
    assert entry.read in ("the source itself", "a copy", "a note")
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


# -- against other implementations ------------------------------------------------------------

FOUND = []  # all that stands in braces, however deep
json.loads(json.dumps(RAW["entries"]), object_hook=lambda each: FOUND.append(each) or each)
COUNTED = {}  # what the ledger counts of a model: of several ranks, the last
for f in FOUND:
    if f.get("function") in ("trainable", "all") and f["arguments"]["model"] != "chatglm-6b":
        what = {key: value for key, value in f["arguments"].items() if key != "r"}
        COUNTED[json.dumps(what, sort_keys=True)] = f["arguments"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # on Conv1D, on ties
@pytest.mark.parametrize("arguments", COUNTED.values(), ids=COUNTED)
def test_the_counts_of_the_ledger_are_those_of_peft(arguments):
    """With two layers, where the number of layers has one name."""
    how = dict(arguments)
    model, method = how.pop("model"), how.pop("method", "lora")
    whole = counting.catalogue()[model]
    regular = "num_hidden_layers" in whole and not any(isinstance(v, list) for v in whole.values())
    built = build(model, **({"num_hidden_layers": 2} if regular else {}))
    ours = counting.count(built, method=method, **how)
    if method == "vera":
        config = peft.VeraConfig(**how)
    else:
        config = peft.LoraConfig(**how, use_dora=method == "dora")
    adapted = peft.get_peft_model(built, config, low_cpu_mem_usage=True)
    if method == "lora-fa":
        create_lorafa_optimizer(adapted, r=how["r"], lora_alpha=1, lr=1e-3)
    assert adapted.get_nb_trainable_parameters() == ours[:2]


# -- tables, and what can fail ----------------------------------------------------------------


def test_each_entry_stands_in_a_table_of_its_source_and_in_a_line():
    found = ledger.tables()
    assert set(found) == {entry.cites for entry in ENTRIES.values()} == set(ledger.sources())
    for source, some in found.items():
        assert all(entry.cites == source for rows in some.values() for _, entry in rows)
    rows = ledger.lines(found)
    assert {row["id"] for row in rows} == set(ENTRIES)
    assert all(bool(row["explanation"]) == (row["verdict"] == "differs") for row in rows)


def test_misfits_are_what_differs_the_farthest_first():
    assert len(ledger.misfits()) == ledger.shares()["differ"]
    off = [abs(math.log(q.ratio)) for _, q in ledger.misfits()]
    assert off == sorted(off, reverse=True)


def test_what_was_measured_is_not_judged():
    found = ledger.measured()
    assert found.keys() == {raw["id"] for raw in RAW["measured"]}
    assert not found.keys() & ENTRIES.keys()
    assert all(ledger.printed_value(figure["published"]) >= 1 for figure in found.values())
