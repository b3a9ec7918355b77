"""The seven emotions and their fixed labels."""

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "ps")
"""Emotions in the order of their labels: neutral 0, happy 1, sad 2, angry 3, fear 4, disgust 5, ps 6."""

SHOWN_AS = {emotion: emotion for emotion in EMOTIONS} | {"fear": "fearful", "ps": "surprised"}
"""Emotion to the word that plots and predictions show."""
