"""Voices taught with and without labels to a model with a population: `ser enrol` and `--speaker`.

The model is a stand-in that hears two numbers in a clip, frequency and length, so that what must come out
can be computed by hand.
"""

import csv
import io
import json
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile
from scipy.special import softmax
from test_project import REPO
from test_records import call

from ser_lib.core.errors import BundleError, ParameterError
from ser_lib.model.adapt import Population
from ser_lib.model.bundle import Bundle, load_bundle
from ser_lib.model.enrolment import (
    Clips,
    answered,
    cross_validate,
    enrolment_text,
    learn_voice,
    measure_voice,
    predicted,
)
from ser_lib.model.novelty import novelty_kinds
from ser_lib.model.voices import (
    Gained,
    Voice,
    adapt_bundle,
    enrolled_voices,
    kept_text,
    read_voice,
    save_voice,
    with_voice,
)

RATE = 16000
EMOTIONS = ["neutral", "happy", "sad"]
POPULATION = Population(mean=[300.0, 0.5], within=[100.0, 0.1], between=[200.0, 0.05])
CENTRES = np.array([[200.0, 0.5], [300.0, 0.5], [400.0, 0.5]])
"""Frequency (Hz) and length (s) of each emotion, as the training speakers have them."""
DOUBT = "Without the labels, the model does no better than by guessing. Has each clip the label of its emotion?"
SUMMARY = [300.0, 0.5, 0, 0, 0, 0]
"""Means of the training clips' frequency and length, which vary in no clip."""


@dataclass(frozen=True)
class Hearing(Bundle):
    """Hears the frequency (Hz) and the length (s) of a sine."""

    def extract_unscaled(self, signal, sampling_rate):
        _, measures = super().extract_unscaled(signal, sampling_rate)
        crossings = np.count_nonzero(np.diff(np.signbit(signal))) / 2
        seconds = len(signal) / sampling_rate
        return np.array([[crossings / seconds, seconds]], dtype=np.float32), measures


def nearest(X):
    """Probabilities that fall with the distance to each emotion's centre."""
    distances = (X[:, 0, np.newaxis, :1] - CENTRES[:, :1])[..., 0] / 100
    return softmax(-2 * distances**2, axis=1).astype(np.float32)


def hearing(distance=1e9):
    """Bundle of the stand-in, with the distance beyond which a clip sounds unlike the training clips."""
    info = load_bundle(REPO / "reports" / "demo").info
    settings = info.settings.model_copy(update={"sampling_rate": RATE, "denoise": False})
    novelty = info.novelty.model_copy(update={"mean": SUMMARY, "std": [100.0, 0.1, 1, 1, 1, 1], "distance": distance})
    changed = {"population": POPULATION, "features": ["hz", "s"], "emotions": EMOTIONS, "settings": settings}
    object.__setattr__(novelty, "find_novelty", lambda *_: ())
    return Hearing(info.model_copy(update=changed | {"novelty": novelty}), nearest)


@pytest.fixture(scope="module")
def bundle():
    return hearing()


def sine(hz, seconds=0.5):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write(folder, frequencies, seconds=0.5):
    folder.mkdir(parents=True, exist_ok=True)
    for hz in frequencies:
        soundfile.write(folder / f"{hz}.wav", sine(hz, seconds), RATE)


def clips_of(frequencies, labels):
    X = np.array([[[hz, 0.5]] for hz in frequencies], dtype=np.float32)
    return Clips(X, np.ones(len(X), dtype=int), np.array(labels))


@pytest.fixture
def enrolling(root, bundle, monkeypatch):
    monkeypatch.setattr("ser_lib._cli.common.load_run", lambda run, backend="onnx": bundle)
    return root


def enrol(monkeypatch, capsys, root, *options):
    return call(monkeypatch, capsys, "enrol", str(root / "me"), "--run", "one", *options)


def test_statistics_are_shrunk_by_hand(bundle):
    # four clips around 900 Hz: trust 200² / (200² + 100² / 4) = 16/17 of the way from 300 to 900;
    # variance (4 · 200 + 20 · 100²) / 24
    voice = measure_voice(clips_of([880, 920, 880, 920], [-1] * 4), bundle)
    assert voice.mean[0] == pytest.approx(300 + 600 * 16 / 17)
    assert voice.std[0] == pytest.approx(np.sqrt((4 * 400 + 20 * 100**2) / 24))
    assert voice.mean[1] == pytest.approx(0.5)


def test_how_little_clips_vary_counts_unless_most_have_labels(bundle):
    population = POPULATION.model_copy(update={"shrink_by": "clips_and_spread"})
    by_spread = replace(bundle, info=bundle.info.model_copy(update={"population": population}))
    clips = clips_of([880, 920, 880, 920], [-1] * 4)
    spread = (20**2 / 100**2 + 0) / 2 * 4 / 3  # of Hz and of seconds, which do not vary
    of_mean = 100**2 * (1 / 4 + 1 / 40 + 0.8 - spread)
    assert measure_voice(clips, by_spread).mean[0] == pytest.approx(300 + 600 * 200**2 / (200**2 + of_mean))
    assert measure_voice(replace(clips, labels=np.array([0, 1, 0, -1])), by_spread) == measure_voice(clips, bundle)
    few_told = replace(clips, labels=np.array([0, 1, -1, -1]))
    assert measure_voice(few_told, by_spread) == measure_voice(clips, by_spread)


def test_voice_like_the_population_changes_nothing(bundle):
    # its clips have the population's mean and deviation, so any number of them asks for no change
    clips = clips_of([200, 400], [-1, -1])
    adapted = adapt_bundle(bundle, learn_voice("me", clips, bundle))
    X = np.array([[hz, 0.5] for hz in (150, 200, 260, 333, 500)], dtype=np.float32)
    np.testing.assert_allclose(adapted.to_scale(X, 1, None)[:, 0], X[:, 0], rtol=1e-6)


def test_one_clip_is_enough_and_is_told_to_be_few(enrolling, monkeypatch, capsys):
    write(enrolling / "me", [500])
    status, out, err = enrol(monkeypatch, capsys, enrolling)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].startswith("Fewer than 5 clips tell little of a voice.")
    assert out.splitlines()[1] == "me is enrolled with 1 clip: ser predict FILE --speaker me --run one"


def test_enrolling_a_name_again_says_what_it_replaces(enrolling, monkeypatch, capsys):
    write(enrolling / "me", [500])
    assert "in place of" not in enrol(monkeypatch, capsys, enrolling)[1]
    write(enrolling / "me", [600])
    told = enrol(monkeypatch, capsys, enrolling)[1].splitlines()[1]
    assert told.startswith("me is enrolled with 2 clips, in place of 1 clip: ser predict FILE")
    file = next((enrolling / "data" / "voices" / "me").iterdir())
    file.write_text("{")
    assert "2 clips, in place of a damaged voice: " in enrol(monkeypatch, capsys, enrolling)[1]


# From 300 Hz, clips of 500 and 510 Hz are 2 and 2.1 standard deviations in one of six numbers


def test_clips_that_sound_like_no_speech_are_counted(root, monkeypatch, capsys):
    monkeypatch.setattr("ser_lib._cli.common.load_run", lambda run, backend="onnx": hearing(2.05 / np.sqrt(6)))
    write(root / "me", [300, 500, 510, 3000])
    status, out, err = enrol(monkeypatch, capsys, root)
    assert status == 0 and "me is enrolled with 4 clips" in out
    assert err.startswith("warning: 2 of 4 clips sound unlike the speech that the model has learnt from. ")
    assert err.endswith(f"ser predict {root / 'me'} --run one names them.\n") and len(err.splitlines()) == 1


def test_clips_none_of_which_sounds_like_speech_are_refused(root, monkeypatch, capsys):
    heard = hearing(2.05 / np.sqrt(6))
    monkeypatch.setattr("ser_lib._cli.common.load_run", lambda run, backend="onnx": heard)
    write(root / "me", [510, 3000])
    people = heard.info.model_copy(update={"corpora": ["TESS"]})
    object.__setattr__(heard, "info", people)
    status, out, err = enrol(monkeypatch, capsys, root)
    assert (status, out) == (1, "") and len(err.splitlines()) == 1
    assert "sound like the speech that the model has learnt from. Of 2 in " in err and " none does. " in err
    assert " If they are: with labels, such clips are taken. " in err
    assert enrolled_voices(heard) == []
    (root / "me" / "happy").mkdir()
    (root / "me" / "happy" / "bad.wav").write_bytes(b"")  # a label of what cannot be heard is none
    assert enrol(monkeypatch, capsys, root)[0] == 1 and enrolled_voices(heard) == []
    shutil.rmtree(root / "me" / "happy")
    for emotion in ("happy", "sad"):
        write(root / "labelled" / "me" / emotion, [510, 3000] if emotion == "sad" else [520, 2000])
    status, out, err = enrol(monkeypatch, capsys, root / "labelled")
    assert status == 0 and err.startswith("warning: 4 of 4 clips sound unlike ")
    assert "me is enrolled with 4 labelled clips: " in out
    object.__setattr__(heard, "info", people.model_copy(update={"corpora": ["DEMO"]}))
    status, out, err = enrol(monkeypatch, capsys, root)
    assert status == 0 and err.startswith("warning: 2 of 2 clips sound unlike ")


@pytest.mark.parametrize("make", ["noise", "tone"])
def test_a_committed_model_takes_noise_and_tones_for_no_voice(root, monkeypatch, capsys, make):
    model = load_bundle(REPO / "reports" / "tess_robust_random_s0")
    monkeypatch.setattr("ser_lib._cli.common.load_run", lambda run, backend="onnx": model)
    (root / "me").mkdir()
    for number in range(20):
        noise = 0.1 * np.random.default_rng(number).normal(size=2 * RATE)
        soundfile.write(root / "me" / f"{number}.wav", noise if make == "noise" else sine(200 + number, 2), RATE)
    assert all("sound" in novelty_kinds(model.predict(*soundfile.read(file)).novelty) for file in root.glob("me/*"))
    status, _, err = enrol(monkeypatch, capsys, root)
    assert status == 1 and "Of 20 in " in err and enrolled_voices(model) == []


def test_none_that_can_be_used_is_refused(enrolling, monkeypatch, capsys):
    write(enrolling / "me", [500])
    (enrolling / "me" / "500.wav").write_bytes(b"")
    status, _, err = enrol(monkeypatch, capsys, enrolling)
    assert status == 1 and "at least 1 clip. " in err and "500.wav is left out: the file is empty." in err


def swapped(root):
    """A person who is happy at what is sad of others, and the other way round; sounds of neither kind beside."""
    write(root / "me" / "happy", [395, 400, 405])
    write(root / "me" / "sad", [295, 300, 305])
    write(root / "me" / "Neutral", [195, 200])
    write(root / "me", [250, 350])


def without_neutral(root):
    """The same person, whose neutral clips have no label."""
    write(root / "me" / "happy", [395, 400, 405])
    write(root / "me" / "sad", [295, 300, 305])
    write(root / "me", [195, 200, 205])


def test_only_needs_labels_and_tells_where_they_are_not_used(enrolling, monkeypatch, capsys, bundle):
    write(enrolling / "me", [200, 300])
    status, out, err = enrol(monkeypatch, capsys, enrolling, "--only")
    assert (status, out) == (1, "") and enrolled_voices(bundle) == []
    assert err.startswith("error: `--only` needs clips in folders named by emotions. ") and err.count("\n") == 1
    # the first clip of each emotion has the label that the model expects, the second that of the other
    write(enrolling / "harm" / "me" / "neutral", [200, 399])
    write(enrolling / "harm" / "me" / "sad", [400, 201])
    (enrolling / "harm" / "me" / "sad" / "201.wav").rename(enrolling / "harm" / "me" / "sad" / "second.wav")
    status, out, err = enrol(monkeypatch, capsys, enrolling / "harm", "--only")
    assert status == 0 and "so the voice alone is used" in out
    assert err == "note: `--only` has no effect here: it works by the labels, which are not used.\n"


def test_copies_are_told_once_by_where_they_lie(enrolling, monkeypatch, capsys, bundle):
    swapped(enrolling)
    for name in ("happy/deep", "sad/deep", "Neutral"):
        write(enrolling / "me" / name, [405])
    write(enrolling / "me" / "sad" / "again", [300, 295])
    write(enrolling / "me", [300])
    (enrolling / "me" / "sad" / "bad.wav").write_bytes(b"")
    status, out, _ = enrol(monkeypatch, capsys, enrolling)
    assert status == 0 and out.splitlines()[:4] == [
        "sad/bad.wav is left out: the file is empty.",
        "sad/again/295.wav is left out: it is the same recording as sad/295.wav.",
        "sad/again/300.wav and 300.wav are left out: they are the same recording as sad/300.wav.",
        "Neutral/405.wav, happy/405.wav, happy/deep/405.wav and sad/deep/405.wav are left out: the same recording "
        "under several emotions.",
    ]


def test_emotion_without_a_label_stays_as_probable_as_it_was(enrolling, monkeypatch, capsys, bundle):
    without_neutral(enrolling)
    status, out, err = enrol(monkeypatch, capsys, enrolling)
    assert (status, err) == (0, "") and "The labels help and are used." in out
    assert "No clip is labelled neutral: how probable those are is left to the model.\n" in out
    X = np.array([[[200, 0.5]], [[300, 0.5]], [[400, 0.5]]], dtype=np.float32)
    clips = Clips(X, np.ones(3, dtype=int), np.array([0, 2, 1]))
    assert predicted(clips, with_voice(bundle, "me")).tolist() == [0, 2, 1]  # happy at what is sad of others
    _, out, _ = enrol(monkeypatch, capsys, enrolling, "--only")
    assert "No clip is labelled" not in out
    alone = answered(clips, with_voice(bundle, "me"))
    assert alone.argmax(axis=1).tolist()[1:] == [2, 1] and read_voice("me", bundle).head.emotions is None


def test_of_a_recording_with_a_label_and_without_the_label_counts(enrolling, monkeypatch, capsys, bundle):
    without_neutral(enrolling)
    write(enrolling / "me", [295, 395])
    _, out, _ = enrol(monkeypatch, capsys, enrolling)
    assert "\n395.wav is left out: it is the same recording as happy/395.wav.\n" in f"\n{out}"
    assert (read_voice("me", bundle).n_clips, read_voice("me", bundle).n_labelled) == (9, 6)


def test_pattern_is_told_to_bring_no_labels(enrolling, monkeypatch, capsys):
    swapped(enrolling)
    for pattern, is_told in (("*/*.wav", True), ("[!x]*", True), ("happy/*.wav", False), ("*.wav", False)):
        asked = ["enrol", str(enrolling / "me" / pattern), "--name=you", "--run=one"]
        status, out, err = call(monkeypatch, capsys, *asked)
        note = "note: a pattern brings no labels. Name the folder that holds those of the emotions.\n"
        assert status == 0 and " clips" in out and (note in err) == is_told


def test_labels_teach_what_statistics_cannot(enrolling, monkeypatch, capsys, bundle):
    swapped(enrolling)
    status, out, err = enrol(monkeypatch, capsys, enrolling)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Right of your 8 labelled clips, each from what the others teach:"
    assert [line.split()[-2:] for line in lines[1:4]] == [["2", "25%"], ["2", "25%"], ["8", "100%"]]
    assert lines[4] == "The labels help and are used. One clip more or less is 12%."
    assert lines[5] == DOUBT
    assert lines[6].startswith("me is enrolled with 8 labelled clips and 2 without a label: ")
    voice = read_voice("me", bundle)
    assert voice.gained == Gained(n_clips=8, before=2, statistics=2, labels=8)
    assert (voice.n_clips, voice.n_labelled) == (10, 8)
    assert with_voice(bundle, "me").predict(sine(400), RATE).emotion == "happy"
    assert bundle.predict(sine(400), RATE).emotion == "sad"


def tried(bundle, **gained):
    """What is said of a voice whose labels were tried so, in lines."""
    voice = learn_voice("me", clips_of([300, 310], [0, 1]), bundle)
    return enrolment_text(voice.model_copy(update={"gained": Gained(**gained)}), bundle).splitlines()[4:]


def test_verdict_says_where_nothing_would_do_as_well(bundle):
    used = "The labels are used, since more are right with them than with the voice alone."
    compare = "right without the voice: compare answers with it and without. One clip more or less is 5%."
    assert tried(bundle, n_clips=20, before=11, statistics=4, labels=11)[0] == f"{used} But as many are {compare}"
    assert tried(bundle, n_clips=20, before=12, statistics=4, labels=11)[0] == f"{used} But more are {compare}"
    plain = "The labels help and are used. One clip more or less is 5%."
    assert tried(bundle, n_clips=20, before=10, statistics=4, labels=11)[0] == plain


def test_labels_that_the_model_hardly_ever_agrees_with_are_doubted(bundle):
    # by guessing among three, 6 of 18 are right, with a standard deviation of 2
    for before, statistics, is_doubted in ((8, 8, True), (9, 2, False), (2, 9, False), (0, 0, True)):
        assert (DOUBT in tried(bundle, n_clips=18, before=before, statistics=statistics, labels=18)) == is_doubted


def test_voice_of_another_model_is_told_from_none(enrolling, bundle):
    statistics = measure_voice(clips_of([300, 310], [0, 1]), bundle)
    save_voice(Voice(name="me", onnx_sha256="f" * 64, n_clips=2, statistics=statistics))
    with pytest.raises(BundleError, match=r"with the same --run\. me is enrolled for another model, and each learns"):
        read_voice("me", bundle)
    with pytest.raises(BundleError, match=r"with the same --run\. Enrolled for it are none\. Got you\."):
        read_voice("you", bundle)


@pytest.mark.parametrize("name", ["", "x" * 101, "-x", ".."])
def test_name_that_no_file_may_have_is_refused(enrolling, monkeypatch, capsys, name):
    write(enrolling / "me", [200, 300, 400])
    status, _, err = call(monkeypatch, capsys, "enrol", "me", f"--name={name}")
    assert (status, err) == (
        1,
        "error: A speaker's name must be at most 100 of the letters a to z and A to Z, digits, `_`, `-` and `.`, and "
        f"begin with a letter or a digit. Got {name!r}; see --name.\n",
    )


def test_clips_of_which_little_is_heard_and_copies_are_told(enrolling, monkeypatch, capsys, bundle):
    for emotion, hz in (("happy", 400), ("sad", 300), ("neutral", 200)):
        write(enrolling / "me" / emotion, [hz])
    write(enrolling / "me" / "happy", [405])
    write(enrolling / "me" / "sad", [400])  # as sad what is happy
    settings = bundle.info.settings
    most = settings.n_samples / settings.sampling_rate
    soundfile.write(enrolling / "me" / "happy" / "long.wav", sine(410, 1.6 * most), RATE)
    status, out, err = enrol(monkeypatch, capsys, enrolling)
    assert status == 0 and "me is enrolled with 4 labelled clips: " in out
    assert "happy/400.wav and sad/400.wav are left out: the same recording under several emotions.\n" in out
    assert err.endswith(
        f"warning: 1 of 4 clips is much longer than the first {most:.1f} s, which alone are used of each. Cut them "
        "into phrases.\n"
    )


def test_outside_a_project_the_whole_path_of_a_voice_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("ser_lib.model.voices.has_project", lambda: False)
    assert kept_text(tmp_path / "a.json").startswith(f"{tmp_path / 'a.json'} holds numbers")


def test_head_is_that_of_a_logistic_regression(bundle):
    # from a model that knows nothing, the head is a regularised logistic regression with a penalty on its bias, too
    from sklearn.linear_model import LogisticRegression

    ignorant = replace(bundle, probabilities=lambda X: np.full((len(X), 3), 1 / 3, dtype=np.float32))
    frequencies, labels = [150, 220, 310, 290, 420, 380], [0, 0, 1, 1, 2, 2]
    clips = clips_of(frequencies, labels)
    voice = learn_voice("me", clips, ignorant)
    assert voice.head is not None
    mean, std = np.array(voice.statistics.mean), np.array(voice.statistics.std)
    Z = (clips.X[:, 0] - mean) / std / np.sqrt(2)  # standard deviations, by the root of their number
    with_one = np.hstack([Z, np.ones((len(Z), 1))])
    reference = LogisticRegression(C=100, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(with_one, labels)
    new = np.array([[180, 0.5], [333, 0.5], [500, 0.5]])
    expected = reference.predict_proba(np.hstack([(new - mean) / std / np.sqrt(2), np.ones((3, 1))]))
    adapted = adapt_bundle(ignorant, voice)
    X = adapted.to_scale(new[:, np.newaxis].astype(np.float32), 1, None)
    np.testing.assert_allclose(adapted.probabilities(X), expected, atol=2e-3)


def test_labels_that_do_harm_are_not_used(bundle):
    # the first clip of each emotion has the label that the model expects, the second that of the other
    voice = learn_voice("me", clips_of([200, 400, 400, 200], [0, 0, 2, 2]), bundle)
    assert voice.gained == Gained(n_clips=4, before=2, statistics=2, labels=0)
    assert voice.head is None and voice.n_labelled == 0 and voice.from_clips == "4 clips"
    assert "so the voice alone is used" in enrolment_text(voice, bundle)


def test_tie_is_for_the_labels(bundle):
    voice = learn_voice("me", clips_of([200, 201, 300, 301, 400, 401], [0, 0, 1, 1, 2, 2]), bundle)
    assert voice.gained == Gained(n_clips=6, before=6, statistics=6, labels=6)
    assert voice.n_labelled == 6 and "make no difference here" in enrolment_text(voice, bundle)


def test_a_tested_clip_teaches_nothing(bundle, monkeypatch):
    """Each clip is in one test alone, and what adapts the model to that is made of others."""
    learnt = []
    from ser_lib.model import enrolment

    measure = enrolment.measure_voice
    monkeypatch.setattr(enrolment, "measure_voice", lambda c, b: learnt.append(set(c.X[:, 0, 0])) or measure(c, b))
    frequencies = [200, 201, 202, 203, 204, 205, 206, 300, 301, 400, 500]
    gained = cross_validate(clips_of(frequencies, [0] * 7 + [1] * 2 + [2] + [-1]), bundle)
    left_out = [set(frequencies) - one for one in learnt]
    assert gained.n_clips == 9  # neither the only clip of an emotion nor that without a label
    assert left_out == [{200, 205, 300}, {201, 206, 301}, {202}, {203}, {204}]


def test_one_clip_each_teaches_and_cannot_be_tried(bundle):
    voice = learn_voice("me", clips_of([395, 305, 200], [1, 2, 0]), bundle)
    assert voice.gained is None and voice.n_labelled == 3
    assert enrolment_text(voice, bundle).startswith("What the labels bring could not be tried")


def test_copy_of_a_clip_neither_teaches_nor_tests(enrolling, monkeypatch, capsys, bundle):
    swapped(enrolling)
    (enrolling / "me" / "sad" / "again.wav").write_bytes((enrolling / "me" / "sad" / "300.wav").read_bytes())
    status, out, _ = enrol(monkeypatch, capsys, enrolling)
    assert status == 0 and out.startswith("sad/again.wav is left out: it is the same recording as sad/300.wav.\n")
    assert read_voice("me", bundle).gained == Gained(n_clips=8, before=2, statistics=2, labels=8)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["happy", "2024"], r"must be named by emotions of the model: neutral, happy, sad\. It has 2024\. Rename"),
        (["happy", "Fearful"], r"neutral, happy, sad\. The model does not know Fearful\. Leave those clips out"),
        (["happy"], r"must be of at least two emotions\. Got happy alone\."),
    ],
)
def test_wrong_folders_are_one_line(enrolling, monkeypatch, capsys, folders, message):
    for folder in folders:
        write(enrolling / "me" / folder, [300])
    status, _, err = enrol(monkeypatch, capsys, enrolling)
    assert status == 1 and err.count("\n") == 1
    with pytest.raises(ParameterError, match=message):
        from ser_lib._cli.enrol import enrol as run

        run(str(enrolling / "me"), run="one")
    assert not (enrolling / "data").exists()


def test_model_without_population_takes_no_labels(enrolling, monkeypatch, capsys, bundle):
    plain = replace(bundle, info=bundle.info.model_copy(update={"population": None}))
    monkeypatch.setattr("ser_lib._cli.common.load_run", lambda run, backend: plain)
    write(enrolling / "me" / "happy", range(300, 330))
    status, _, err = enrol(monkeypatch, capsys, enrolling)
    assert status == 1 and err.count("\n") == 1 and "are for a model that was trained with ADAPT_TO_SPEAKER" in err
    (enrolling / "me" / "happy").rename(enrolling / "me" / "2024")
    status, out, _ = enrol(monkeypatch, capsys, enrolling)
    assert status == 0 and out.startswith("me is enrolled with 30 clips: ")
    with pytest.raises(ParameterError, match="ADAPT_TO_SPEAKER"):
        learn_voice("me", clips_of(range(300, 330), [0, 1] * 15), plain)


def test_speaker_is_told_in_every_output(enrolling, monkeypatch, capsys):
    swapped(enrolling)
    assert enrol(monkeypatch, capsys, enrolling)[0] == 0
    write(enrolling, [400])
    file, told = str(enrolling / "400.wav"), "Adapted to me, from 8 labelled clips and 2 without a label."
    asked = ["--run", "one", "--speaker", "me"]
    status, out, _ = call(monkeypatch, capsys, "predict", file, *asked)
    assert status == 0 and out.startswith("400.wav: happy") and told in out.splitlines()
    _, out, _ = call(monkeypatch, capsys, "predict", file, *asked, "--json", "-")
    assert json.loads(out)[0]["speaker"] == "me" and json.loads(out)[0]["emotion"] == "happy"
    _, out, err = call(monkeypatch, capsys, "predict", file, *asked, "--csv", "-")
    assert err == f"{told}\n"  # not among what another program reads
    assert [row["speaker"] for row in csv.DictReader(io.StringIO(out))] == ["me"]
    for words in (["predict", file, "--hop", "0.2"], ["listen", "--file", file]):
        _, out, _ = call(monkeypatch, capsys, *words, *asked)
        assert told in out.splitlines()
        _, out, _ = call(monkeypatch, capsys, *words, *asked, "--csv", "-")
        assert {row["speaker"] for row in csv.DictReader(io.StringIO(out))} == {"me"}
        _, out, _ = call(monkeypatch, capsys, *words, "--run", "one", "--csv", "-")
        assert "speaker" not in out.splitlines()[0]
    _, out, _ = call(monkeypatch, capsys, "predict", file, "--run", "one", "--json", "-")
    assert "speaker" not in json.loads(out)[0] and json.loads(out)[0]["emotion"] == "sad"


def test_file_of_before_labels_loads_and_is_written_as_it_was(root, bundle):
    content = {"name": "her", "onnx_sha256": bundle.info.onnx_sha256, "n_clips": 20}
    content["statistics"] = {"mean": [310.0, 0.5], "deviation": [90.0, 0.1]}
    path = save_voice(Voice.model_validate_json(json.dumps(content)))
    assert json.loads(path.read_text()) == content
    assert read_voice("her", bundle).told == "Adapted to her, from 20 clips."
    assert enrolled_voices(bundle) == ["her"]


@pytest.mark.parametrize("changed", [{"n_labelled": 3}, {"onnx_sha256": "0" * 64}])
def test_voice_that_cannot_be_what_it_says_is_refused(root, bundle, changed):
    path = save_voice(learn_voice("me", clips_of([200, 400], [-1, -1]), bundle))
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(BundleError, match="does not fit the model"):
        read_voice("me", bundle)


@pytest.mark.parametrize(
    "head",
    [
        {"weights": [[0.0] * 3], "bias": [0.0] * 3},
        {"weights": [[0.0] * 3, [0.0] * 2], "bias": [0.0] * 3},
        {"weights": [[0.0] * 3] * 2, "bias": [0.0] * 3, "emotions": [0, 3]},
    ],
)
def test_head_of_another_shape_is_refused(root, bundle, head):
    voice = learn_voice("me", clips_of([200, 400], [-1, -1]), bundle)
    path = save_voice(voice)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"head": head}))
    with pytest.raises(BundleError, match="does not fit the model"):
        read_voice("me", bundle)
