"""What every training shares: the loop, checkpoints, the learning curve."""
