"""The engines that run an exported step or generator."""
