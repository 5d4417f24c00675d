"""`/v1/audio`: speech from text, text from speech."""
