"""The table of breaks is true of the code as it is. (`make mutations` makes them: minutes.)"""

from collections import Counter

from mutations import ROOT, breaks

CORE = ("counting", "lowrank", "reference", "layers", "_fused", "adapt", "checkpoint")
CORE += ("quantize", "variants")


def test_what_is_broken_stands_once_in_its_file():
    for row in breaks():
        text = (ROOT / row.file).read_text(encoding="utf-8")
        assert text.count(row.old) == 1, f"{row.name}: the code has changed, not so the table"
        compile(text.replace(row.old, row.new), row.file, "exec")  # no slip that any test would see
        assert row.tests
        assert all((ROOT / name).is_file() for name in row.tests)


def test_there_are_enough_and_each_core_module_has_its_share():
    names = [row.name for row in breaks()]
    assert len(names) == len(set(names)) >= 36
    modules = Counter(name.partition(":")[0] for name in names)
    assert all(modules[module] >= 3 for module in CORE)
