"""Metrics, simple models to compare with, leakage, and the tables and sentences about them."""
