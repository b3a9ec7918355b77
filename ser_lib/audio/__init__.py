"""From a file to features: decoding, signal, settings, features, and all clips of a corpus at once."""
