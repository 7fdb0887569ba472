"""Pure agents: init, act and update on one frozen state."""
