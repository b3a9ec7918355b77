"""Runs, the records that they leave, and the pages made of these."""
