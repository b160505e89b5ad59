"""Who holds which sequence of a context: leases, and prefixes in memory and on disk."""
