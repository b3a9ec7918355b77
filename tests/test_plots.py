import matplotlib

matplotlib.use("Agg")

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.axes import Axes

from ser_lib import plots
from ser_lib.audio.settings import AudioSettings
from ser_lib.model.explain import Occlusion

SETTINGS = AudioSettings(
    sampling_rate=8000,
    frame_length=256,
    hop_length=100,
    features="mfcc",
    n_mfcc=5,
    n_mels=128,
    mel_fmin=0.0,
    normalize_per_speaker=False,
    trim_top_db=30.0,
    denoise=False,
    denoise_reference=False,
    target_length=8000,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def test_waveform_over_seconds():
    ax = plots.plot_waveform(np.array([0.0, 1.0, -1.0, 0.5]), 2, title="clip")
    times, samples = ax.lines[0].get_data()
    assert list(times) == [0, 0.5, 1, 1.5]
    assert list(samples) == [0, 1, -1, 0.5]
    assert (labels(ax), ax.get_title()) == (("time (s)", "amplitude"), "clip")


def test_spectrogram_shows_a_tone_at_its_frequency():
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    ax = plots.plot_spectrogram(tone, SETTINGS)
    level = ax.collections[0].get_array().reshape(129, -1)
    assert np.median(level.argmax(axis=0)) == 1000 / (8000 / 256)  # Hz over the width of a bin
    assert level.max() == 0  # dB below the loudest point
    assert labels(ax) == ("time (s)", "frequency (Hz)")
    assert ax.figure.axes[-1].get_ylabel() == "level (dB)"
    assert ax.get_xlim()[1] == pytest.approx(1, abs=0.05)


def test_spectrogram_of_a_clip_that_is_shorter_than_a_frame_warns_of_nothing():
    short = np.sin(2 * np.pi * 1000 * np.arange(100) / 8000).astype(np.float32)
    level = plots.plot_spectrogram(short, SETTINGS).collections[0].get_array().reshape(129, -1)
    assert level[:, 0].argmax() == pytest.approx(1000 / (8000 / 256), abs=1)


def test_mfcc_show_the_coefficients_standardised_and_not_the_first_two_columns():
    features = np.random.default_rng(0).normal(0, [1, 1, 500, 50, 5, 5, 0], (6, 7))
    ax = plots.plot_mfcc(features, SETTINGS)
    shown = ax.collections[0].get_array().reshape(5, 6)
    np.testing.assert_allclose(shown[:4], scipy.stats.zscore(features[:, 2:6], axis=0).T, rtol=1e-6)
    assert (shown[4] == 0).all()  # a coefficient that never changes
    assert ax.collections[0].get_clim() == (-3, 3)
    assert ax.figure.axes[-1].get_ylabel() == "standard deviations"
    assert labels(ax) == ("time (s)", "MFCC number")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "2", "3", "4", "5"]


def test_mfcc_are_standardised_without_padding_or_by_the_scale_that_is_given():
    sound = np.random.default_rng(0).normal(0, 1, (6, 7))
    padded = np.concatenate([sound, np.full((9, 7), -40.0)])
    shown = plots.plot_mfcc(padded, SETTINGS).collections[0].get_array().reshape(5, 15)
    np.testing.assert_allclose(shown[:, :6], scipy.stats.zscore(sound[:, 2:], axis=0).T, rtol=1e-6)
    axes = plots.plot_features(sound, SETTINGS, scale=(np.full(7, 2.0), np.full(7, 4.0)))
    shown = axes[1].collections[0].get_array().reshape(5, 6)
    np.testing.assert_allclose(shown, (sound[:, 2:].T - 2) / 4, rtol=1e-6)


def test_rms_and_zcr_are_the_first_two_columns():
    features = np.arange(3 * 7, dtype=np.float32).reshape(3, 7)
    ax = plots.plot_rms_and_zcr(features, SETTINGS)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0, 7, 14], [1, 8, 15]]
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([0, 0.0125, 0.025])  # 100 samples at 8 kHz
    assert ["RMS" in text.get_text() for text in ax.get_legend().get_texts()] == [True, False]
    assert ax.get_xlabel() == "time (s)"


def test_lengths_before_and_after_trimming():
    clips = pd.DataFrame({"seconds": [2.0, 2.0, 3.0], "trimmed_seconds": [1.0, 1.5, 1.5], "clip": ["a", "b", "c"]})
    ax = plots.plot_lengths(clips)
    assert labels(ax) == ("length (s)", "clips")
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"before trimming", "after trimming"}
    low, high = ax.dataLim.intervalx
    assert (low, high) == pytest.approx((1, 3))


def test_split_counts_each_emotion_in_each_set():
    table = pd.DataFrame(
        {"emotion": ["ps", "ps", "ps", "fear", "fear"], "set": ["train", "train", "test", "train", "validation"]}
    )
    ax = plots.plot_split(table)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["fearful", "surprised"]
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in ax.containers}
    assert heights == {"train": [1, 2], "validation": [1, 0], "test": [0, 1]}
    assert labels(ax) == ("emotion", "clips")


def test_history_shows_both_sets_over_epochs():
    history = {"loss": [2.0, 1.0], "val_loss": [3.0, 4.0], "accuracy": [0.1, 0.2], "val_accuracy": [0.3, 0.4]}
    axes = plots.plot_history(history)
    assert [labels(ax) for ax in axes] == [("epoch", "cross-entropy (nats)"), ("epoch", "accuracy")]
    shown = [[line.get_ydata().tolist() for line in ax.lines] for ax in axes]
    assert shown == [[[2, 1], [3, 4]], [[0.1, 0.2], [0.3, 0.4]]]
    assert axes[0].lines[0].get_xdata().tolist() == [1, 2]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_history_of_one_epoch_is_a_point_that_can_be_seen():
    axes = plots.plot_history({"loss": [2], "val_loss": [3], "accuracy": [0.1], "val_accuracy": [0.3]})
    assert {line.get_marker() for ax in axes for line in ax.lines} == {"o"}


def test_heatmap_of_fewer_emotions_has_their_names():
    ax = plots.plot_confusion_matrix([[1, 2], [3, 4]], emotions=["sad", "ps"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sad", "surprised"]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4"]


def test_heatmap_annotations_are_the_matrix():
    matrix = np.arange(49).reshape(7, 7)
    ax = plots.plot_confusion_matrix(matrix, title="test set")
    assert [int(text.get_text()) for text in ax.texts] == list(range(49))
    assert ax.texts[1].get_position() == (1.5, 0.5)  # row 0, column 1: true emotions run down
    assert labels(ax) == ("predicted emotion", "true emotion")
    names = ["neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == names
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names


def test_confusion_normalised_by_row():
    matrix = np.zeros((7, 7), dtype=int)
    matrix[0, :2], matrix[6, 6] = (3, 1), 5
    ax = plots.plot_confusion_matrix(matrix, normalize=True)
    names = ["neutral", "happy", "surprised"]  # nothing is happy, but one clip was taken for it
    assert [tick.get_text() for tick in ax.get_xticklabels()] == names
    assert [float(text.get_text()) for text in ax.texts] == [0.75, 0.25, 0, 0, 0, 0, 0, 0, 1]
    assert ax.figure.axes[-1].get_ylabel() == "fraction of the true emotion's clips"


def test_empty_confusion_matrix_shows_all_emotions():
    assert len(plots.plot_confusion_matrix(np.zeros((7, 7), dtype=int)).texts) == 49


HEADLINES = {
    "network": {"uar": 0.8, "accuracy": 0.9, "intervals": {"uar": [0.7, 0.85], "accuracy": [0.8, 1.0]}},
    "svm": {"uar": 0.5, "accuracy": 0.5, "intervals": {"uar": [0.4, 0.6], "accuracy": [0.5, 0.5]}},
}
BINS = {
    "clips": np.array([0, 3, 1]),
    "confidence": np.array([0, 0.5, 0.9]),
    "accuracy": np.array([0, 1 / 3, 1]),
}


def test_headlines_have_their_intervals():
    ax = plots.plot_headlines(HEADLINES)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["network", "svm"]
    uar, accuracy = ax.containers
    assert uar.lines[0].get_xdata().tolist() == [0.8, 0.5]
    ends = [segment[:, 0].tolist() for segment in uar.lines[2][0].get_segments()]
    assert ends == [pytest.approx([0.7, 0.85]), pytest.approx([0.4, 0.6])]
    assert accuracy.get_label() == "accuracy"
    assert ax.get_xlabel() == "fraction, with 95 % interval"
    assert ax.yaxis_inverted()


def test_reliability_shows_the_bins_that_have_clips():
    ax = plots.plot_reliability(BINS, title="after")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.5, 1 / 3], [0.9, 1]])
    sizes = ax.collections[0].get_sizes()
    assert sizes[0] > sizes[1]
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert (labels(ax), ax.get_title()) == (("confidence (probability)", "accuracy"), "after")


COVERAGE = {"test": {"threshold": [0.0, 0.5], "answered": [1.0, 0.25], "accuracy": [0.5, 0.75]}}


def test_coverage_marks_what_is_not_called_unsure():
    ax = plots.plot_coverage(COVERAGE)
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 0.5], [0.25, 0.75]], [[0.25, 0.75]]]
    assert labels(ax) == ("fraction of clips answered", "accuracy of the answers")


def test_robustness_as_bars_beside_a_guess():
    ax = plots.plot_robustness({"as recorded": 0.75, "telephone": 0.25}, chance=0.125)
    assert [bar.get_width() for bar in ax.patches] == [0.75, 0.25]
    assert ax.lines[0].get_xdata() == [0.125, 0.125]
    assert labels(ax) == ("UAR", "condition")


def test_accuracy_per_class_as_bars():
    ax = plots.plot_accuracy_per_class({"fear": 0.25, "ps": 1.0})
    assert [bar.get_width() for bar in ax.patches] == [0.25, 1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["fearful", "surprised"]
    assert [text.get_text() for text in ax.texts] == ["25.0%", "100.0%"]
    assert labels(ax) == ("recall", "emotion")


def test_probabilities_as_bars():
    ax = plots.plot_probabilities({"happy": 0.125, "sad": 0.875}, title="file.wav: sad")
    assert [bar.get_width() for bar in ax.patches] == [0.125, 0.875]
    assert [text.get_text() for text in ax.texts] == ["12.5%", "87.5%"]
    assert (labels(ax), ax.get_title()) == (("probability", "emotion"), "file.wav: sad")
    assert ax.yaxis_inverted()  # the first one stands on top


def test_trimming_is_grey_outside_of_the_bounds():
    ax = plots.plot_trimming(np.ones(100), 10, (20, 70), title="a")
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    assert spans == [(0, 2), (7, 10)]
    assert (labels(ax), ax.get_title()) == (("time (s)", "amplitude"), "a")


def test_occlusion_is_drawn_under_the_spectrogram():
    occlusion = Occlusion("sad", [(0.0, 0.2), (0.2, 0.3)], np.array([1.0, -0.5]), ["rms", "zcr"], np.array([0.25, 2.0]))
    axes = plots.plot_occlusion(np.ones(800, dtype=np.float32), occlusion, SETTINGS, title="a.wav: evidence for sad")
    assert axes[0].get_title() == "a.wav: evidence for sad"
    assert [labels(ax) for ax in axes[1:]] == [
        ("time hidden (s)", "evidence (nats)"),
        ("evidence (nats)", "feature hidden"),
    ]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes[1].patches]
    assert bars == [(0, 0.2, 1), (0.2, pytest.approx(0.1), -0.5)]
    assert axes[1].get_xlim() == axes[0].get_xlim()
    axes[0].figure.canvas.draw()
    ticks = [[(tick.get_loc(), tick.label1.get_text()) for tick in ax.xaxis.get_major_ticks()] for ax in axes[:2]]
    assert ticks[0] == ticks[1]
    assert all(float(text.replace("−", "-")) == pytest.approx(place) for place, text in ticks[0])
    assert [bar.get_width() for bar in axes[2].patches] == [0.25, 2]


def test_timeline_is_drawn_under_the_waveform_and_silence_is_no_probability():
    table = pd.DataFrame(
        {"start": [0.0, 1.0, 2.0], "end": [2.0, 3.0, 4.0], "p_sad": [0.75, np.nan, 0.5], "p_angry": [0.25, np.nan, 0.5]}
    )
    axes = plots.plot_timeline(table, (np.array([0.5, 1.5]), np.array([0.1, 0.9])), title="a.wav")
    image = axes[1].collections[0]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), table[["p_sad", "p_angry"]].T)
    assert image.get_array().mask[:, 1].all() and image.get_clim() == (0, 1)
    assert [tick.get_text() for tick in axes[1].get_yticklabels()] == ["sad", "angry"]
    assert axes[1].get_xlim() == (0, 4) and axes[0].get_title() == "a.wav"
    assert axes[1].get_xlabel() == "time (s); grey is silence"
    one = plots.plot_timeline(table[:1], (np.array([0.5]), np.array([0.1])))
    assert one[1].get_xlim() == (0, 2)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.plot_trimming(np.ones(10), 10, (2, 5), ax=ax),
        lambda ax: plots.plot_waveform(np.ones(10), 10, ax=ax),
        lambda ax: plots.plot_spectrogram(np.ones(800, dtype=np.float32), SETTINGS, ax=ax),
        lambda ax: plots.plot_mfcc(np.ones((4, 7)), SETTINGS, ax=ax),
        lambda ax: plots.plot_rms_and_zcr(np.ones((4, 7)), SETTINGS, ax=ax),
        lambda ax: plots.plot_lengths(pd.DataFrame({"seconds": [2.0], "trimmed_seconds": [1.0]}), ax=ax),
        lambda ax: plots.plot_split(pd.DataFrame({"emotion": ["sad"], "set": ["train"]}), ax=ax),
        lambda ax: plots.plot_confusion_matrix(np.eye(7, dtype=int), ax=ax),
        lambda ax: plots.plot_accuracy_per_class({"sad": 1.0}, ax=ax),
        lambda ax: plots.plot_headlines(HEADLINES, ax=ax),
        lambda ax: plots.plot_reliability(BINS, ax=ax),
        lambda ax: plots.plot_coverage(COVERAGE, ax=ax),
        lambda ax: plots.plot_robustness({"telephone": 0.5}, chance=0.1, ax=ax),
        lambda ax: plots.plot_probabilities({"sad": 1.0}, ax=ax),
    ],
)
def test_plots_draw_into_the_axes_they_are_given(draw):
    ax = plt.subplots()[1]
    assert draw(ax) is ax
    assert isinstance(draw(None), Axes)


def test_figure_is_saved_whole(tmp_path):
    ax = plots.plot_waveform(np.ones(10), 10)
    plots.save_figure(ax, tmp_path / "figures" / "w.png")
    assert (tmp_path / "figures" / "w.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["w.png"]


def test_features_are_drawn_as_what_they_are():
    frames = np.random.default_rng(0).standard_normal((81, 20)).astype(np.float32)
    mfcc = plots.plot_features(frames[:, :7], SETTINGS)
    assert [ax.get_ylabel() for ax in mfcc] == ["value", "MFCC number"]
    logmel = SETTINGS.model_copy(update={"features": "logmel", "n_mels": 20})
    (ax,) = plots.plot_features(frames, logmel)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "frequency (Hz)")
    heights = dict(zip([tick.get_text() for tick in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert list(heights) == ["250", "500", "1,000", "2,000"]  # the highest band has its centre at 3,450 Hz
    centres = librosa.mel_frequencies(22, fmin=0, fmax=4000)[1:-1]
    assert np.interp(heights["500"], np.arange(1, 21), centres) == pytest.approx(500)
    np.testing.assert_array_equal(ax.images[0].get_array(), frames.T)
    assert ax.get_xlim() == (0, pytest.approx(81 * 100 / 8000))
    assert ax.figure.axes[-1].get_ylabel() == "level above the clip's mean (dB)"
    (ax,) = plots.plot_features(frames, logmel.model_copy(update={"normalize_per_speaker": True}))
    assert ax.figure.axes[-1].get_ylabel() == "standard deviations"
