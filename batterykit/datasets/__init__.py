"""Where data comes from: the LG M50T record's files, and synthetic files in the same layout."""
