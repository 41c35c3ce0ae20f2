"""Models on inference servers that speak the KServe protocol, version 2, by HTTP or gRPC."""
