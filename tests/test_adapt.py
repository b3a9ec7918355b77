"""Adaptation to a voice: shrinkage, the head of a voice, and what is measured of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from ser_lib.audio.normalize import Statistics
from ser_lib.core.errors import ParameterError
from ser_lib.model.adapt import Head, Population, TrainingVoices, estimate_voice, fit_head, know_some, to_population
from ser_lib.model.adapt import with_head as add_head
from ser_lib.model.bundle import Bundle
from ser_lib.model.voices import Voice, adapt_bundle
from ser_lib.params import make_params
from ser_lib.scoring import adaptation

ENCODER = {"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False, "MODEL": "linear"}


def voices(n_voices=50, n_clips=80, n_features=4, between=2.0, seed=0):
    """Clips of voices whose means are `between` apart; within a voice the standard deviation is 0.5."""
    rng = np.random.default_rng(seed)
    means = rng.normal(3, between, (n_voices, 1, n_features))
    X = means + rng.normal(0, 0.5, (n_voices, n_clips, n_features))
    return X.reshape(-1, n_features).astype(np.float32), np.repeat([f"v{one}" for one in range(n_voices)], n_clips)


def test_population_finds_the_variances_that_voices_were_drawn_with():
    population = TrainingVoices(*voices(n_voices=400)).population
    assert population.mean == pytest.approx([3] * 4, abs=0.3)
    assert population.within == pytest.approx([0.5] * 4, rel=0.03)
    assert population.between == pytest.approx([2.0] * 4, rel=0.15)


def test_each_voice_counts_equally_however_many_clips_it_has():
    X = np.array([[0.0], [2.0], [10.0], [12.0], [10.0], [12.0]], dtype=np.float32)
    population = TrainingVoices(X, np.array(["a", "a", "b", "b", "b", "b"])).population
    assert population.mean == [6.0]  # (1 + 11) / 2
    assert population.within == [1.0]
    assert population.between == pytest.approx([np.sqrt(50 - (1 / 2 + 1 / 4) / 2)], rel=1e-6)  # less what is by chance


def test_voice_is_shrunk_by_the_number_of_its_clips():
    population = Population(mean=[0.0], within=[2.0], between=[1.0])
    X = np.array([[5.0], [7.0], [5.0], [7.0]], dtype=np.float32)  # mean 6, variance 1
    voice = estimate_voice(X, population)
    assert voice.mean == pytest.approx([6 * 1 / (1 + 4 / 4)])  # as much between voices as in a mean of four clips
    assert voice.std == pytest.approx([np.sqrt((4 * 1 + 20 * 4) / 24)])
    many = estimate_voice(np.tile(X, (10_000, 1)), population)
    assert many.mean == pytest.approx([6], rel=1e-3) and many.std == pytest.approx([1], rel=1e-2)


def test_clips_that_vary_little_are_trusted_less():
    """Variance of a voice's mean beyond that by number: a fortieth, and what the spread lacks to 0.8."""
    by_clips = Population(mean=[0.0], within=[2.0], between=[1.0])
    population = by_clips.model_copy(update={"shrink_by": "clips_and_spread"})
    usual = np.tile([[4.0], [8.0]], (10, 1)).astype(np.float32)  # mean 6, variance 4 · 20/19, as much as within voices
    alike = np.tile([[5.0], [7.0]], (10, 1)).astype(np.float32)  # variance 1 · 20/19
    assert estimate_voice(usual, population).mean == pytest.approx([6 / (1 + 4 / 20 + 4 / 40)])
    lacking = 0.8 - 20 / 19 / 4
    assert estimate_voice(alike, population).mean == pytest.approx([6 / (1 + 4 / 20 + 4 * (1 / 40 + lacking))])
    assert estimate_voice(alike, population).std == estimate_voice(alike, by_clips).std
    assert estimate_voice(alike, population, are_mixed=True) == estimate_voice(alike, by_clips)
    one = estimate_voice(alike[:1], population)  # of a single clip's spread nothing is known
    assert one.mean == pytest.approx([5 / (1 + 4 + 4 / 40)])


def test_model_that_does_not_shrink_by_spread_is_described_as_before():
    population = Population(mean=[0.0], within=[2.0], between=[1.0])
    assert population.model_dump() == {"mean": [0.0], "within": [2.0], "between": [1.0]}
    by_spread = population.model_copy(update={"shrink_by": "clips_and_spread"})
    assert Population.model_validate_json(by_spread.model_dump_json()) == by_spread
    assert by_spread.model_dump() == population.model_dump() | {"shrink_by": "clips_and_spread"}


def test_training_is_the_same_whatever_new_voices_are_shrunk_by():
    X, speakers = voices()
    by_spread, by_clips = TrainingVoices(X, speakers, "clips_and_spread"), TrainingVoices(X, speakers)
    assert by_spread.population == by_clips.population.model_copy(update={"shrink_by": "clips_and_spread"})
    varied = [one.vary_knowledge(X, np.random.default_rng(0)) for one in (by_spread, by_clips)]
    np.testing.assert_array_equal(*varied)


def emotional(n_voices, n_clips, rng):
    """Voices [v, 1, 1, 30] that are 2 apart, and their clips [v, 4, c, 30]: emotions 2 apart, clips of one 1 apart."""
    voice = rng.normal(0, 2, (n_voices, 1, 1, 30))
    emotion = rng.normal(0, 2, (1, 4, 1, 30))
    return voice, voice + emotion + rng.normal(0, 1, (n_voices, 4, n_clips, 30))


def test_spread_finds_a_voice_better_by_clips_of_one_emotion_and_not_worse_by_mixed_ones():
    rng = np.random.default_rng(8)
    voice, X = emotional(60, 20, rng)
    offset = X.mean(axis=(0, 1, 2))
    train, new = X[:40].reshape(-1, 30).astype(np.float32), range(40, 60)
    speakers = np.repeat([f"v{one}" for one in range(40)], 80)

    def error(shrink_by, clips_of):
        population = TrainingVoices(train, speakers, shrink_by).population
        found = [estimate_voice(clips_of(one).astype(np.float32), population).mean for one in new]
        return np.sqrt(np.mean([(mean - voice[one, 0, 0] - offset) ** 2 for mean, one in zip(found, new, strict=True)]))

    one_emotion = [error(by, lambda one: X[one, 0]) for by in ("clips", "clips_and_spread")]
    mixed = [error(by, lambda one: X[one, :, :5].reshape(-1, 30)) for by in ("clips", "clips_and_spread")]
    assert one_emotion[1] < 0.9 * one_emotion[0]
    assert mixed[1] < 1.1 * mixed[0]


def test_one_clip_is_enough_and_changes_little_where_voices_are_alike():
    population = Population(mean=[1.0], within=[1.0], between=[0.1])
    voice = estimate_voice(np.array([[4.0]], dtype=np.float32), population)
    assert voice.mean == pytest.approx([1 + 3 * 0.01 / 1.01])
    assert voice.std == pytest.approx([np.sqrt(20 / 21)])


def test_voice_comes_to_the_scale_of_the_training_speakers():
    population = Population(mean=[10.0, 0.0], within=[2.0, 1.0], between=[1.0, 1.0])
    X = np.array([[3.0, 5.0], [7.0, 5.0]], dtype=np.float32)
    scaled = to_population(X, Statistics(mean=[5.0, 5.0], std=[4.0, 1.0]), population)
    np.testing.assert_allclose(scaled, [[9, 0], [11, 0]])
    assert scaled.dtype == np.float32


def test_training_meets_voices_both_as_they_are_and_adapted():
    X, speakers = voices(n_voices=200, n_clips=30)
    training = TrainingVoices(X, speakers)
    varied = training.vary_knowledge(X, np.random.default_rng(0))
    as_is = np.array([np.array_equal(varied[speakers == one], X[speakers == one]) for one in np.unique(speakers)])
    assert 0.3 < as_is.mean() < 0.5  # two of five
    means = np.array([varied[speakers == one].mean(axis=0) for one in np.unique(speakers)[~as_is]])
    assert means.std(axis=0).max() < 0.2 * np.array(training.population.between).min()
    np.testing.assert_array_equal(varied, training.vary_knowledge(X, np.random.default_rng(0)))


def test_what_is_known_of_a_voice_is_how_its_clips_sound_in_this_epoch():
    """Clips that all sound lower by the same in a room: an adapted voice is brought to the same place from there."""
    X, speakers = voices(n_voices=200, n_clips=30)
    training = TrainingVoices(X, speakers)
    lower = training.vary_knowledge(X - 100, np.random.default_rng(0))
    means = np.array([lower[speakers == one].mean() for one in np.unique(speakers)])
    as_is = np.array([X[speakers == one].mean() - 100 for one in np.unique(speakers)])
    adapted = ~np.isclose(means, as_is, atol=1e-3)
    assert 0.5 < adapted.mean() < 0.7  # three of five
    assert (np.abs(means[adapted] - np.mean(training.population.mean)) < 50).all()


def test_head_is_the_logistic_regression_of_scikit_learn():
    """From a model that knows nothing: with a penalty of 0.01 / 2 on squared weights and on the bias, as a feature."""
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    X = (rng.normal(size=(30, 5)) + labels[:, np.newaxis]).astype(np.float32)
    population = Population(mean=[0.5] * 5, within=[2.0] * 5, between=[1.0] * 5)
    nothing = np.full((30, 3), 1 / 3)
    head = fit_head(nothing, X, labels, population)
    given = add_head(lambda X: np.full((len(X), 3), 1 / 3), head, population)(X[:, np.newaxis])
    Z = np.column_stack([(X - 0.5) / 2 / np.sqrt(5), np.ones(30)])
    expected = LogisticRegression(C=100, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(Z, labels)
    np.testing.assert_allclose(given, expected.predict_proba(Z), atol=0.01)


def test_head_leaves_a_model_alone_that_is_sure_and_right():
    labels = np.array([0, 1, 0, 1])
    right = np.eye(2)[labels] * 0.9998 + 0.0001
    X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    head = fit_head(right, X, labels, Population(mean=[0.0] * 3, within=[1.0] * 3, between=[1.0] * 3))
    assert np.abs(head.weights).max() < 0.05 and np.abs(head.bias).max() < 0.05


POPULATION = Population(mean=[0.0, 0.0], within=[1.0, 1.0], between=[5.0, 5.0])


def test_some_clips_of_each_voice_bring_its_others_to_scale():
    rng = np.random.default_rng(5)
    speakers = np.repeat(["a", "b", "c"], [50, 6, 1])
    X = rng.normal(3, 2, (57, 4))
    population = Population(mean=[0.0] * 4, within=[1.0] * 4, between=[1e6] * 4)  # means are trusted as they are
    rows, scaled = know_some(X, speakers, population, np.random.default_rng(0))
    assert [(speakers[rows] == one).sum() for one in "abc"] == [30, 3, 0]  # of fifty twenty are known, of six half
    for one in "ab":
        drawn = np.setdiff1d(np.flatnonzero(speakers == one), rows)
        n, of_voice = len(drawn), speakers[rows] == one
        std = np.sqrt((n * X[drawn].var(axis=0) + 20) / (n + 20))  # twenty clips with the variance 1
        np.testing.assert_allclose(scaled[of_voice], (X[rows][of_voice] - X[drawn].mean(axis=0)) / std, atol=1e-4)


def test_known_clips_are_trusted_as_those_of_a_new_voice():
    X = np.random.default_rng(5).normal(3, 0.5, (12, 2)).astype(np.float32)
    population = Population(mean=[0.0] * 2, within=[1.0] * 2, between=[1.0] * 2, shrink_by="clips_and_spread")
    rows, scaled = know_some(X, np.full(12, "a"), population, np.random.default_rng(0))
    voice = estimate_voice(X[np.setdiff1d(np.arange(12), rows)], population)
    np.testing.assert_allclose(scaled, to_population(X[rows], voice, population), rtol=1e-5)


def test_head_of_some_emotions_is_the_logistic_regression_of_these_alone():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    X = (rng.normal(size=(30, 5)) + labels[:, np.newaxis]).astype(np.float32)
    population = Population(mean=[0.5] * 5, within=[2.0] * 5, between=[1.0] * 5)
    model = softmax(rng.normal(size=(30, 5)), axis=1)
    head = fit_head(model, X, labels + 1, population, emotions=[1, 2, 3])  # of five
    given = add_head(lambda X: model, head, population)(X[:, np.newaxis])
    np.testing.assert_allclose(given[:, [0, 4]], model[:, [0, 4]], atol=1e-6)
    of_these = model[:, 1:4] / model[:, 1:4].sum(axis=1, keepdims=True)
    alone = fit_head(of_these, X, labels, population)
    expected = add_head(lambda X: of_these, alone, population)(X[:, np.newaxis])
    np.testing.assert_allclose(given[:, 1:4] / given[:, 1:4].sum(axis=1, keepdims=True), expected, atol=1e-5)


def test_head_of_some_emotions_that_changes_nothing_leaves_the_model_as_modest_as_it_was():
    model = softmax(np.random.default_rng(0).normal(size=(4, 3)), axis=1).astype(np.float32)
    head = Head(weights=[[0.0] * 3] * 2, bias=[0.0] * 3, temperature=2.5, emotions=[0, 2])
    given = add_head(lambda X: model, head, POPULATION)(np.ones((4, 1, 2), dtype=np.float32))
    np.testing.assert_allclose(given, model, atol=1e-6)


@pytest.mark.parametrize(("n_clips", "temperature"), [(4, 3.0), (5, 1.5)])
def test_temperature_for_known_voices_is_for_five_clips_and_more(n_clips, temperature):
    logits = np.random.default_rng(6).normal(size=(8, 3)) * 4
    info = SimpleNamespace(population=POPULATION, speakers={}, temperature=3.0, voice_temperature=1.5)
    voice = Voice(
        name="x", onnx_sha256="", n_clips=n_clips, statistics=estimate_voice(np.ones((n_clips, 2)), POPULATION)
    )
    adapted = adapt_bundle(Bundle(info, lambda X: softmax(logits / 3, axis=1)), voice)
    np.testing.assert_allclose(adapted.probabilities(logits), softmax(logits / temperature, axis=1), rtol=1e-6)


def test_head_begins_at_the_answers_before_calibration():
    rng = np.random.default_rng(3)
    logits, labels, X = rng.normal(size=(12, 3)) * 3, np.arange(12) % 3, rng.normal(size=(12, 1, 4)).astype(np.float32)
    population = Population(mean=[0.0] * 4, within=[1.0] * 4, between=[1.0] * 4)
    before, calibrated = softmax(logits, axis=1), softmax(logits / 3.5, axis=1)
    heads = fit_head(before, X[:, 0], labels, population), fit_head(calibrated, X[:, 0], labels, population, 3.5)
    answers = [
        add_head(lambda X, p=p: p, head, population)(X) for p, head in zip((before, calibrated), heads, strict=True)
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


def probabilities(X):
    """What a model of two emotions says that looks at the first feature: half and half at zero."""
    return softmax(np.column_stack([-X[:, 0, 0], X[:, 0, 0]]), axis=1).astype(np.float32)


BUNDLE = Bundle(
    SimpleNamespace(
        emotions=["neutral", "angry"], population=POPULATION, speakers={}, temperature=1.0, voice_temperature=None
    ),
    probabilities,
)


def shifted(n_clips=60, seed=1):
    """Two voices, one 4 to the right and one 4 to the left of the mean; angry is 2 to the right of neutral."""
    rng = np.random.default_rng(seed)
    labels, speakers = np.tile(np.arange(n_clips) % 2, 2), np.repeat(["r", "l"], n_clips)
    X = rng.normal(0, 0.3, (2 * n_clips, 1, 2))
    X[:, 0, 0] += 2 * labels - 1 + np.where(speakers == "r", 4, -4)
    return X.astype(np.float32), labels, speakers


def test_adaptation_is_measured_on_clips_that_were_not_drawn():
    X, labels, speakers = shifted()
    rows = adaptation.evaluate(BUNDLE, X, labels, speakers, seed=0)
    assert [(row["clips"], row["each"]) for row in rows[:4]] == [("any", each) for each in (5, 10, 20, 50)]
    assert [row["n_clips"] for row in rows[:4]] == [110, 100, 80, 60]  # of fifty asked for, half of sixty are drawn
    assert [row["n_clips"] for row in rows if row["labelled"]] == [116, 112, 108, 100]
    without = balanced_accuracy_score(labels, probabilities(X).argmax(axis=1))
    assert without == pytest.approx(0.5)
    for row in rows:
        assert row["without"] == pytest.approx(0.5, abs=0.05)
    assert min(row["uar"] for row in rows if row["clips"] == "any") > 0.85
    assert min(row["uar"] for row in rows if row["labelled"]) > 0.99


def test_mostly_neutral_draws_four_fifths_neutral_clips():
    labels = np.arange(100) % 5
    drawn = labels[adaptation._mostly(0, 20)(labels, np.random.default_rng(0))]
    assert len(drawn) == 20 and (drawn == 0).sum() == 16


def test_ways_that_no_voice_has_clips_for_are_left_out():
    X, _, speakers = shifted()
    rows = adaptation.evaluate(BUNDLE, X, np.ones(len(X), dtype=int), speakers, seed=0)  # all angry
    assert {row["clips"] for row in rows} == {"any", "of each emotion"}
    first = np.concatenate([np.flatnonzero(speakers == one)[:2] for one in "rl"])  # a clip of each emotion and voice
    rows = adaptation.evaluate(BUNDLE, X[first], np.tile([0, 1], 2), speakers[first], seed=0)
    assert {row["clips"] for row in rows} == {"any"} and {row["n_clips"] for row in rows} == {2}
    assert adaptation.evaluate(BUNDLE, X[:1], np.zeros(1, dtype=int), speakers[:1], seed=0) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ADAPT_TO_SPEAKER": True}, "`ADAPT_TO_SPEAKER` needs `FEATURES: encoder`. Got mfcc."),
        (
            ENCODER | {"ADAPT_TO_SPEAKER": True, "NORMALIZE_PER_SPEAKER": True},
            "`ADAPT_TO_SPEAKER` needs `NORMALIZE_PER_SPEAKER: false`. Got true.",
        ),
    ],
)
def test_adaptation_needs_embeddings(values, message):
    with pytest.raises(ParameterError, match=message):
        make_params(values)
