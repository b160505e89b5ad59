"""Files become clean rows: sources, splits, noise, near-duplicates, augmentation."""
