"""What all layers share: the step, the vocabulary, files, line files, the process."""
