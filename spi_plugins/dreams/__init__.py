"""Dreams: world models as environments, their ids and their files."""
