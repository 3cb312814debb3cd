"""What a checkpoint would do with a question: how its training answers begin, calibrated on the run's held-out rows."""
