"""What cost wrappers keep books with: accounts over rows, and how costs, infos and observations are read."""
