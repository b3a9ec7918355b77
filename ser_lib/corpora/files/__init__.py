"""The files of a corpus: which there must be, fetched, unpacked and checked."""
