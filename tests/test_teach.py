"""Lessons that teach a model a voice, with the stand-in of test_enrolment.py."""

from dataclasses import replace

import pytest
import soundfile
from test_enrolment import RATE, hearing, sine

from ser_lib.core.errors import AudioError, ParameterError
from ser_lib.model.enrolment import gather_clips, hear_clip, learn_voice
from ser_lib.stream.teach import new_lesson

SAID = (195, 205, 395, 405, 295, 305)
"""Frequency (Hz) of two sentences of each emotion."""


@pytest.fixture(scope="module")
def bundle():
    return hearing()


@pytest.fixture
def sound(tmp_path):
    def write(hz):
        soundfile.write(tmp_path / f"{hz}.wav", sine(hz), RATE)
        return tmp_path / f"{hz}.wav"

    return write


def test_lesson_teaches_what_the_folder_would(bundle, sound):
    lesson = new_lesson(bundle)
    assert [task.emotion for task in lesson.tasks] == [e for e in ("neutral", "happy", "sad") for _ in range(2)]
    for hz in SAID:
        assert not lesson.is_over
        assert lesson.hear(sound(hz), bundle) == pytest.approx(0.5)
        lesson.go_on()
    assert lesson.is_over
    voice = lesson.learn("me", bundle)
    heard = gather_clips([hear_clip(sine(hz), RATE, bundle) for hz in SAID], [0, 0, 1, 1, 2, 2])
    expected = learn_voice("me", heard, bundle)
    assert voice.statistics.mean == pytest.approx(expected.statistics.mean, rel=1e-3)
    assert voice.gained == expected.gained and voice.told == "Adapted to me, from 6 labelled clips."


def test_sentence_that_is_skipped_or_said_again_counts_as_last_said(bundle, sound):
    lesson = new_lesson(bundle)
    for hz in (900, 195):  # the first was a slip of the tongue
        lesson.hear(sound(hz), bundle)
    lesson.go_on()
    lesson.hear(sound(205), bundle)
    lesson.go_on(skip=True)
    lesson.hear(sound(395), bundle)
    heard = {number: float(features[0, 0]) for number, (features, _) in lesson.heard.items()}
    assert heard == {0: pytest.approx(195, abs=2), 2: pytest.approx(395, abs=2)}


def test_same_recording_for_another_sentence_is_refused(bundle, sound):
    lesson = new_lesson(bundle)
    lesson.hear(sound(195), bundle)
    lesson.go_on()
    with pytest.raises(AudioError, match="it is the same recording as that of sentence 1"):
        lesson.hear(sound(195), bundle)


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [("a/b", SAID, "name"), ("me", (), "Nothing was recorded"), ("me", SAID[:2], "two emotions")],
)
def test_nothing_is_learnt_without_a_name_and_two_emotions(bundle, sound, name, said, reason):
    lesson = new_lesson(bundle)
    for hz in said:
        lesson.hear(sound(hz), bundle)
        lesson.go_on()
    with pytest.raises(ParameterError, match=reason):
        lesson.learn(name, bundle)


def test_model_that_takes_no_labels_has_no_lesson(bundle):
    assert new_lesson(replace(bundle, info=bundle.info.model_copy(update={"population": None}))).tasks == []
