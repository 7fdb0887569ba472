"""Cost signals: one accounting in NumPy for single and vector environments alike."""
