"""Makes the spoken halves of questions with any text-to-speech program (`parley data speak`)."""
