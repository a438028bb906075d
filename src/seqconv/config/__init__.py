"""What a setting may be, and how everything wrong with a configuration is reported together."""
