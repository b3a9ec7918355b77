"""A lesson that teaches a model somebody's voice: two sentences of each emotion, one after the other.

What is kept of a recording is what the model hears of it, and no sound.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import AudioError, ParameterError
from ser_lib.core.labels import shown_as
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import gather_clips, hear_clip, learn_voice
from ser_lib.model.voices import Voice, check_name

SENTENCES = ("The keys are on the kitchen table.", "I will be there on Monday.")
"""What is said in each emotion; it should mean none."""
NOT_THIS_MODEL = "This model cannot be taught a voice by a few clips: that takes one trained with ADAPT_TO_SPEAKER."


@dataclass(frozen=True)
class Task:
    """A sentence to say.

    Attributes
    ----------
    label : int
        Index of the emotion among the model's.
    emotion : str
        Its display word.
    sentence : str
    """

    label: int
    emotion: str
    sentence: str


@dataclass
class Lesson:
    """Sentences to say, and what the model has heard of them.

    Attributes
    ----------
    tasks : list of Task
    number : int
        Of the task that is to be done, from 0; that of the tasks when all are done or skipped.
    heard : dict
        Number of a task → what the model hears of the recording.
    """

    tasks: list[Task]
    number: int = 0
    heard: dict[int, tuple[np.ndarray, int]] = field(default_factory=dict)

    def hear(self, path: Path, bundle: Bundle) -> float:
        """Hear a recording of the task that is to be done; return how long it is (s).

        Raises
        ------
        AudioError
            If it cannot be used, or is another task's.
        """
        signal, sampling_rate = load_audio(path)
        clip = hear_clip(signal, sampling_rate, bundle)
        for number, (features, _) in self.heard.items():
            if number != self.number and features.tobytes() == clip[0].tobytes():  # it would be tested by itself
                raise AudioError(f"it is the same recording as that of sentence {number + 1}")
        self.heard[self.number] = clip
        return len(signal) / sampling_rate

    def go_on(self, *, skip: bool = False) -> None:
        """Go to the next task; of one that is skipped nothing is kept."""
        if skip:
            self.heard.pop(self.number, None)
        self.number = min(self.number + 1, len(self.tasks))

    @property
    def is_over(self) -> bool:
        """Whether every task is done or skipped."""
        return self.number == len(self.tasks)

    def learn(self, name: str, bundle: Bundle) -> Voice:
        """Learn the voice of all that was heard.

        Raises
        ------
        ParameterError
            If the name is none that a voice may have, or too little was recorded (`learn_voice`).
        """
        check_name(name)
        if not self.heard:
            raise ParameterError("A voice needs at least 1 recording. Nothing was recorded.")
        labels = [self.tasks[number].label for number in self.heard]
        return learn_voice(name, gather_clips(self.heard.values(), labels), bundle)


def new_lesson(bundle: Bundle) -> Lesson:
    """Lesson for a model; without tasks where it takes no voice from labelled clips."""
    if bundle.info.population is None:
        return Lesson([])
    emotions = [shown_as(emotion) for emotion in bundle.info.emotions]
    return Lesson([Task(label, emotion, text) for label, emotion in enumerate(emotions) for text in SENTENCES])
