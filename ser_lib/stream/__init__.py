"""Long recordings and microphones, in windows; buttons in 05_predict."""
