"""The small lesson built and run: the edition that is read, the solved one, other seeds."""

import base64
import io
import json
from functools import partial

import build
import nbformat
import pytest
from builder import execute
from builder.editions import fenced, printed
from builder.lint import collection
from builder.source import BuildError, read_source, tags
from PIL import Image
from small_lesson import ANSWER, CALL, CLAIM, GOOD, HEAD, SOLVED, code


def test_the_reading_edition(built):
    page = built.page()
    nbformat.validate(page)
    assert [cell.id for cell in page.cells] == [
        "title", "parameters", "first", "sum", "check", "exercise", "a-hint",
        "exercise-solution", "claims",
    ]  # fmt: skip
    *_, exercise, hint, solution, claims = page.cells
    stub = f"{HEAD}\n    raise NotImplementedError{CALL}"
    assert (exercise.source, tags(exercise)) == (stub, ["exercise"])
    assert printed(exercise).startswith("check_double: not attempted yet: write your answer in")
    assert hint.source == "<details><summary>Hint</summary>\n\nThink of 5.\n\n</details>"
    assert (solution.cell_type, tags(solution)) == ("markdown", ["solution"])
    assert solution.source == (
        f"<details><summary>Solution</summary>\n\n```python\n{HEAD}\n{ANSWER}\n```\n\n</details>"
    )
    assert fenced('"""```\nx\n```"""') == '````python\n"""```\nx\n```"""\n````'
    assert claims.metadata == {"jupyter": {"source_hidden": True}, "tags": ["claims"]}
    said = "The one sentence here was just checked, and holds."
    assert claims.outputs[0].data["text/plain"] == said
    claims = collection(built.folder).read_text(encoding="utf-8")
    assert json.loads(claims) == {"small": [CLAIM]}
    assert "timestamp" not in built.notebook.read_text(encoding="utf-8")
    assert page.metadata.language_info == {"name": "python"}  # no version of Python
    assert set(page.metadata) == {"kernelspec", "language_info"}


def test_which_outputs_a_second_build_keeps_and_names_and_what_nbval_is_told(lesson, monkeypatch):
    clock = "import os, time\nprint(os.environ['OF'], time.perf_counter_ns())"
    widget = "from ipywidgets import IntSlider\nIntSlider(3)"
    cells = [code("timing", clock, "timing"), code("approx", clock, "approx")]
    cells += [code("live", widget, "live"), code("exact", "import os\nprint(os.environ['OF'])")]

    def built_on(processor):
        monkeypatch.setenv("OF", processor)
        said = execute.build(lesson.source, run=True)
        return [*said, *(printed(cell).split()[:1] for cell in lesson.page().cells)]

    lesson.write(*cells)
    new = "run: other outputs in timing, approx (approx), exact"
    assert built_on("one") == [new, True, ["one"], ["one"], [], ["one"]]
    both = "run: other outputs in approx (approx), exact"
    assert built_on("two") == [both, True, ["one"], ["two"], [], ["two"]]
    ignored = [[kind, "nbval-ignore-output"] for kind in ("timing", "approx", "live")]
    assert [tags(cell) for cell in lesson.page().cells] == [*ignored, []]
    lesson.write(cells[0].replace("import", "import  "), *cells[2:])
    assert built_on("two") == ["run: other outputs in timing", True, ["two"], [], ["two"]]
    assert built_on("two")[0] == "run: as before"
    assert "widget" not in lesson.notebook.read_text().replace("ipywidgets", "")


def test_where_words_alone_have_changed_nothing_is_run_unless_one_asks(built, capsys):
    def run(*argv):
        assert build.main([*argv, "07"]) == 0
        return capsys.readouterr().out.split(" s  ")[1].strip()

    def shown():
        return [printed(page.cells[3]) for page in (built.page(), built.page("vi"))]

    built.spoil(lambda page: page.cells[3].outputs[0].update(text="5 it was\n"))
    built.edit("In 2021 somebody", "Somebody in 2021")
    late = "; late, in translations: 1, see --check 07_small"
    assert run() == "words changed, nothing run, vi written" + late
    assert built.page().cells[0].source.endswith("Somebody in 2021 added 2 and 3.")
    assert shown() == ["5 it was\n"] * 2
    built.edit("Somebody in 2021", "In 2021 he")
    assert run("--run") == "run: other outputs in sum, vi written" + late
    assert shown() == ["5\n"] * 2
    built.edit("In 2021 he", "In 2021 she")
    built.edit(GOOD[3] + GOOD[4], GOOD[4] + GOOD[3])
    assert run() == "run: as before, vi written" + late  # words, and the order of the code
    built.edit("Tổng là 5.", "Vậy tổng là 5.", built.rendered)
    assert run() == "words changed, nothing run, vi written" + late
    built.edit("The *sum* is 5", "The *sum* is 5, not 6")
    assert build.main(["07"]) == 1
    said = "07_small.ipynb: cell first: no cell of this section shows the number 6\n"
    assert capsys.readouterr().err == said


def test_the_solved_edition_says_ok_and_another_seed_stands_in_memory_only(lesson):
    lesson.write(*GOOD)
    solved = execute.rerun(lesson.source, solved=True).cells[5]
    assert (solved.source, printed(solved)) == (SOLVED, "check_double: OK\n")
    lesson.write(*GOOD[:3], code("sum", "assert SEED == 3, f'SEED = {SEED}'"))
    execute.rerun(lesson.source, seed=3)
    with pytest.raises(BuildError, match="cell sum: AssertionError: SEED = 4"):
        execute.rerun(lesson.source, seed=4)
    lesson.write(GOOD[0], GOOD[2])
    with pytest.raises(BuildError, match="no cell tagged `parameters`"):
        execute.rerun(lesson.source, seed=3)
    assert not lesson.notebook.exists()


FAILING = [
    (code("bad", "1 / 0"), "ZeroDivisionError: division by zero"),
    (code("bad", "import sys\nprint('oh', file=sys.stderr)"), "wrote to stderr: oh"),
    (code("bad", "import os\nos._exit(1)"), "the kernel died"),
    (code("bad", "import time\ntime.sleep(60)"), "more than 2 s"),
    (code("bad", "import ipywidgets\nipywidgets.IntSlider(3)"), "it shows a widget"),
    (GOOD[-1].replace("2 + 3", "6").replace(":id: claims", ":id: bad"), "AssertionError: “The su"),
    # when solved
    (code("bad", f"{HEAD}\n    return x{CALL}", "exercise"), "AssertionError: double(2) is 4, got"),
    (
        code("bad", f"{HEAD}\n    raise NotImplementedError{CALL}", "exercise"),
        "check_double did not say OK but 'check_double: not attempted yet: write",
    ),
]


@pytest.mark.parametrize(("cell", "message"), FAILING)
def test_a_cell_that_fails_or_complains_is_not_built(lesson, monkeypatch, cell, message):
    monkeypatch.setattr(execute, "SECONDS_PER_CELL", 2)
    lesson.write(GOOD[4], cell)
    run = partial(execute.rerun, solved=True) if "[exercise]" in cell else execute.build
    with pytest.raises(BuildError) as caught:
        run(lesson.source)
    assert str(caught.value).startswith(f"07_small.md:22: cell bad: {message}")
    assert not lesson.notebook.exists()


def test_each_picture_is_drawn_in_another_language_as_well(built):
    cells = [
        "import matplotlib.pyplot as plt\nfrom lora_edu.course import plots\nplots.use_style()",
        *(
            f"plt.figure(figsize=(2, 1))\nplt.title({said!r})\nplt.show()"
            for said in ("loss", "DPO")
        ),
    ]
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    execute.execute(notebook, read_source(built.source), also="vi")
    other = execute.in_words_of("vi", notebook)

    def pixels(page):
        pngs = [base64.b64decode(cell.outputs[0].data["image/png"]) for cell in page.cells[1:]]
        return [Image.open(io.BytesIO(png)).convert("RGB").tobytes() for png in pngs]

    alike = [one == two for one, two in zip(pixels(notebook), pixels(other), strict=True)]
    assert alike == [False, True]  # "mất mát"; a name stays
    assert pixels(execute.in_words_of("vi", notebook)) == pixels(notebook)  # they are taken once


def test_a_kernel_whose_port_another_one_has_is_started_again(lesson, monkeypatch):
    from nbclient import NotebookClient

    real, tried = NotebookClient.execute, []

    def first_in_vain(client, **how):
        tried.append(how)
        if len(tried) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return real(client, **how)

    monkeypatch.setattr(NotebookClient, "execute", first_in_vain)
    lesson.write(*GOOD)
    execute.build(lesson.source)
    assert len(tried) == 2
    assert lesson.problems() == []
