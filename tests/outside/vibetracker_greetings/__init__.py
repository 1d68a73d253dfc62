"""Words to say hello with."""
