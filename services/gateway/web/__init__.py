"""The page at `/`: talk to the model in a browser, over the public Realtime API."""
