"""Models for other engines: the encoders as a model repository of Triton."""
