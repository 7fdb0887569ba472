"""DreamSPI as a pure agent."""
