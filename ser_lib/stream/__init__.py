"""Long recordings and microphones, in windows; a page to try a model, and to teach it a voice."""
