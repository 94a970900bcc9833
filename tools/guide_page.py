"""Write ``book/guide_exercises.md``: for each chapter its exercises, the mistakes to expect, and its questions.

All of it stands in the chapters and in the exercises' own tables; after a change to either: python tools/guide_page.py
"""

import re

from detr_mini.classroom import chapters

PAGE = chapters.BOOK / "guide_exercises.md"
HEAD = """<!-- Made by tools/guide_page.py. Change the chapters, or detr_mini/teaching/exercises. -->

# Exercises and questions for a class

For [those who teach](guide.md): how long each exercise takes, how many points an [assignment](teaching.md) gives for
it, and which mistakes to expect. The mistakes are those that its check tells apart, in the words that students read.
Below them stand the chapter's last questions, for a discussion, with answers. Minutes are what we reckon for someone
who has read the chapter; no class has been timed.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_chapter(chapters.read(name)) for name in chapters.names())])


def _chapter(chapter: chapters.Chapter) -> str:
    minutes, points = (sum(getattr(task, what) for task in chapter.tasks) for what in ("minutes", "points"))
    lines = [
        f"## {chapter.title}",
        "",
        f"[The chapter's exercises]({chapter.name}.ipynb#exercises): {minutes} minutes and",
    ]
    lines[-1] += f" {points} points in all."
    for task in chapter.tasks:
        said = f"`{task.exercise.name}`: {task.level}, {task.minutes} minutes, {task.points} points."
        title = task.title if task.title.endswith("?") else f"{task.title}."
        lines += ["", f"**{title}** {said}", "", *(f"- {_escape(told)}" for told in task.exercise.mistakes)]
    lines += ["", "<details><summary>Show the questions, with answers</summary>"]
    for question, answer in chapter.questions:
        lines += ["", f"*{question}*", "", answer]
    return "\n".join([*lines, "", "</details>", ""])


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_$<>\[\]{}])", r"\\\1", text)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
