"""The interactive lab, which outlives the command that opened it."""
