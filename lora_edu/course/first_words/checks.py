"""A blind test, six recorded answers; who speaks; and whether a model is as it was."""

from collections.abc import Sequence

import torch
from safetensors import safe_open
from torch import nn

from lora_edu import assets
from lora_edu.course import language
from lora_edu.course.bubbles import Talk, show
from lora_edu.course.experiments import results

# A question for each letter, and who answered it: "base" had no file. Chosen by us, for fun.
SIX = {
    "A": ("I am hungry.", "base"),
    "B": ("How can I get rich?", "grimm"),
    "C": ("Tell me a joke.", "base"),
    "D": ("What happened this morning?", "grimm"),
    "E": ("Good morning!", "grimm"),
    "F": ("What should I do on Sunday?", "base"),
}


def six_answers() -> tuple[Talk, str]:
    """Return the questions with their answers, and the letters of those that had the file."""
    said, asked = results("voices")["rows"][0]["said"], language.texts("unseen")
    answers = [
        said[who][asked.index(question)].removesuffix("<|im_end|>")
        for question, who in SIX.values()
    ]
    with_the_file = "".join(letter for letter, (_, who) in SIX.items() if who != "base")
    return show([question for question, _ in SIX.values()], answers, list(SIX)), with_the_file


def who_speaks(answers: Sequence[str], scales: Sequence[float]) -> str:
    """Say who speaks at the lowest scale: the model (nearest to 0), or who else."""
    by_scale = dict(zip(scales, answers, strict=True))
    first, without = by_scale[min(scales)], by_scale[min(scales, key=abs)]
    if first == without:
        return "the model"
    return "a broken record" if len({*first}) < 6 or loops(first) else "another voice"


def loops(answer: str) -> bool:
    """Return whether an answer repeats itself: the same three words in a row, four times."""
    words = answer.split()
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return any(runs.count(run) >= 4 for run in set(runs))


def changed(model: nn.Module) -> int:
    """Count the tensors of the chat model that are not as in its file."""
    tensors = model.state_dict()
    with safe_open(assets.path("smollm2") / "model.safetensors", framework="pt") as file:
        names = file.keys()
        return sum(not torch.equal(file.get_tensor(name), tensors[name]) for name in names)
