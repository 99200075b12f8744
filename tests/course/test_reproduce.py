"""From a figure to the runs behind it, and what is said when it comes out otherwise."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from lora_edu.cli import main
from lora_edu.course import commands, experiments, figures, ledger, recorded, reproduce

ROOT = Path(__file__).parents[2]


def test_a_figure_names_its_records_and_the_command_for_a_seed_that_they_hold():
    named = set()
    for name in figures.load():
        data = json.loads((ROOT / "figures" / "data" / f"{name}.json").read_text(encoding="utf-8"))
        for record in data["records"]:
            held = {str(row.get("seed")) for row in experiments.read(record["record"])["rows"]}
            _, seeded, rest = record["again"].partition(" --seeds ")
            assert not seeded or rest.split()[0] in held
            named.add(record["record"])
    assert len(named) > 20


@pytest.mark.parametrize("stamp", [{}, {"verified": {"seconds": 90.0}}])
def test_minutes_are_those_of_a_seed_and_stand_where_they_are_known(monkeypatch, stamp):
    content = {**experiments.read("planted"), "verified": None} | stamp
    monkeypatch.setattr(recorded, "read", lambda name: content)
    monkeypatch.setattr(recorded, "load", lambda: ["planted"])
    assert recorded.behind("planted").get("minutes") == (2 if stamp else None)
    assert recorded.compute()[:30] == ("30 minutes for 1 of 1 records:" if stamp else "")


def test_expected_stands_beside_found_and_a_difference_is_code_1(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data" / "classes_taught.json"
    path.parent.mkdir()
    monkeypatch.setattr(reproduce, "FIGURES", tmp_path)
    assert main(["reproduce", "figure", "classes_taught"]) == 2
    content = json.loads((ROOT / "figures" / "data" / path.name).read_text(encoding="utf-8"))
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["reproduce", "figure", "classes_taught"]) == 0
    assert "0 differ by more than a relative 1e-06" in capsys.readouterr().out
    content["numbers"]["mean"]["pretraining"][1] = 6.2
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["reproduce", "figure", "classes_taught"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["mean.pretraining", "1", "6.2", "6.1", "differs"]
    assert not lines[2].endswith("differs")


def test_seeds_are_made_again_of_each_record_or_others_where_it_has_none(monkeypatch):
    asked = []
    monkeypatch.setattr(commands, "record", lambda given: asked.append(given) or len(asked) - 1)
    assert main(["reproduce", "figure", "cut_or_trained", "--seeds", "1,3"]) == 1
    main(["reproduce", "figure", "one_batch_many_adapters", "--seeds", "0"])
    expected = {"turned": "1,3", "turned_tuning": "100,101", "served": None}
    how = {"out": Path("again"), "jobs": 1, "verify": False, "repeat": False}
    assert asked == [Namespace(name=[n], seeds=seeds, **how) for n, seeds in expected.items()]


def test_a_table_that_differs_without_a_reason_is_code_1(monkeypatch, capsys):
    assert main(["reproduce", "hu2021", "table2"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("14 figures derived again: 8 hold, 6 differ\n")
    assert "0.1M      ±50,000                  102,912  rounds" in said
    main(["reproduce", "hu2021", "table4"])
    assert capsys.readouterr().out.endswith("3 differ, 3 unexplained\n")
    monkeypatch.setattr(ledger, "_entries", ledger._entries.__wrapped__)
    monkeypatch.setitem(ledger.FUNCTIONS, "bitfit", lambda model: 10**6)
    assert main(["reproduce", "hu2021", "table2"]) == 1
    assert "differs, and the ledger does not say why" in capsys.readouterr().err
    assert main(["reproduce", "hu2021", "table2", "--seeds", "0"]) == 2


def test_what_leads_to_a_figure_changes_no_picture_and_a_csv_has_a_row_a_number(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(figures, "FIGURES", {"classes_taught": figures.load()["classes_taught"]})
    list(figures.write(tmp_path))
    timed = recorded.behind("taught") | {"minutes": 7.0}
    monkeypatch.setattr(figures, "behind", lambda name: timed)
    assert "classes_taught.json: stale, its records.minutes changed" in figures.check(tmp_path)
    assert [anew for _, anew in figures.write(tmp_path)] == [False]
    assert figures.check(tmp_path) == []
    (path,) = figures.export(tmp_path / "print", "csv")
    rows = path.read_text().splitlines()
    assert rows[:2] == ["part,place,value", "classes,0,10"]
    assert sum(row.startswith("tuned,") for row in rows) == 20 * 5
