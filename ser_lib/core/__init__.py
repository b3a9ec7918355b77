"""What knows nothing about speech: errors, labels, limits for foreign text, the cache, progress."""
