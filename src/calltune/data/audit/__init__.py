"""What files of rows are and hold, told without a run file, a model or torch."""
