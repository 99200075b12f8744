"""The former name of `lora_file`, which learners' copies of version 0.2's lessons import."""

from lora_edu.course.lora_file import keep, take  # noqa: F401
