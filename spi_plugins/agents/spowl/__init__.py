"""SPOWL and TD-MPC2 as one pure agent."""
