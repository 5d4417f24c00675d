"""The whole of Parley on one machine: sessions in an embedded Valkey, the four services, the gateway."""
