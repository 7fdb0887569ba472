"""Safe policy improvement, computed: certificates with proofs, and diagnostics that say they have none."""
