"""Where models lie and how they come there: registry, fetching, versions, assembling."""
