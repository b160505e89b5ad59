"""Side by side with peers: the same model, inputs and threads, in one run."""
