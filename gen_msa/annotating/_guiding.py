"""A teacher that is told the gold label and asked for the words only; of train rows alone.

What it writes is no prediction: its label is gold's, and `how` says so. Knows nothing of gates.

    refuse_unless_train("twitter2015:dev")          # UserError
    Guided(prompted, media_root).prepare(examples_with_gold)()
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gen_msa import prompting
from gen_msa.chat import Completion
from gen_msa.data.label_leak import labels_of
from gen_msa.data.splits import is_train
from gen_msa.errors import UserError
from gen_msa.readers import Finish, Reading, Shown
from gen_msa.readers.prompted import Asker, PostRefused, Prompted, Question, Seen, see
from gen_msa.types import Aspect, Example, Opinion, Polarity, Status

GUIDED = "_guided"
"""Ends the name of a prompt that takes the label, beside the one that asks for it."""


def refuse_unless_train(source: str) -> None:
    """Raise `UserError` for every source that does not say it is a train split."""
    if not is_train(source):
        raise UserError(
            f"{source} is not named as a train split, and gold may guide a teacher on train only",
            mend="use DATASET:train, call your file e.g. posts.train.jsonl, or leave out guided",
        )


def guided_prompt(name: str) -> str:
    """The prompt that takes the label: `name` itself, or the one beside it.

    Raises `UserError` when there is none.
    """
    if prompting.load(name).takes_label:
        return name
    if name + GUIDED in prompting.names():
        return name + GUIDED
    raise UserError(
        f"prompt {name} does not take a label", mend="guided needs e.g. teacher/rationale"
    )


class Guided:
    """Asks `prompted`'s model why the gold label is what it is."""

    def __init__(self, prompted: Prompted, media_root: Path) -> None:
        self._settings = prompted.settings
        self._backend = prompted.backend
        self._root = media_root
        sees = self._backend.sees_pictures and self._settings.pictures
        name = guided_prompt(self._settings.prompt)
        self._asker = Asker(name, self._settings, media_root, sees_pictures=sees)
        self.prompt = self._asker.prompt

    def prepare(self, examples: Sequence[Example]) -> Finish:
        """A reading for each example; aspects without a gold polarity are not asked about."""
        readings = [Reading()] * len(examples)
        questions: list[Question] = []
        for row, example in enumerate(examples):
            try:
                seen = see(row, example.post, self._root, self._settings)
            except PostRefused as e:
                readings[row] = Reading(refused=e.reason, mend=e.mend)
            else:
                questions += self._questions(seen, labels_of(example))

        def finish() -> list[Reading]:
            answers = self._backend.complete([q.request for q in questions])
            for q, completion in zip(questions, answers, strict=True):
                before = readings[q.seen.row].opinions
                readings[q.seen.row] = Reading((*before, self._opinion(q, completion)))
            return readings

        return finish

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The questions about the examples, unasked."""
        seen = [see(i, e.post, self._root, self._settings) for i, e in enumerate(examples)]
        pairs = zip(seen, examples, strict=True)
        return [self._shown(q) for s, e in pairs for q in self._questions(s, labels_of(e))]

    def _shown(self, q: Question) -> Shown:
        count = self._backend.count_tokens(q.request.chat)
        return Shown(
            post=q.seen.post,
            aspect=q.aspect.term,
            pictures=tuple(p.path for p in q.request.chat.pictures),
            cues={slot: f"{cue.text} [{cue.source}]" for slot, cue in q.cues.items()},
            prompt=q.request.chat.as_text(),
            tokens=count.total if count else None,
            picture_tokens=count.picture if count else None,
            how=dict(q.how),
        )

    def _questions(self, seen: Seen, labels: Mapping[Aspect, Polarity]) -> list[Question]:
        post = seen.post.model_copy(update={"aspects": tuple(labels)})
        told = Seen(seen.row, post, seen.pictures, seen.task, seen.how)
        (hints,) = self._asker.hints([told])
        return [
            self._asker.question(told, aspect, cues, label)
            for (aspect, label), cues in zip(labels.items(), hints, strict=True)
        ]

    def _opinion(self, q: Question, completion: Completion) -> Opinion:
        by = self._settings.reader
        how = {**q.how, **completion.notes, "guided": "gold gave the label"}
        if completion.finish_reason == "error":
            how["error"] = completion.error
            return Opinion(by=by, aspect=q.aspect, status=Status.ERROR, how=how)
        said = prompting.read_opinion(q.prompt, completion, q.seen.post, q.aspect, by)
        return said.model_copy(update={"how": {**how, **said.how}})
