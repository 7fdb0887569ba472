"""How an on-policy agent keeps limits on the costs of its episodes: one small file for each method."""
