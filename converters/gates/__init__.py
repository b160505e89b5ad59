"""What a model must pass: baselines, checks, scores and the verdict."""
