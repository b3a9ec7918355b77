"""Sweeps: trials of one experiment with other parameters, which Optuna chooses by the validation set."""
